from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.generate.sse import SseSplitter, data_span

EVENTS = [
    b'data: {"a":"\xc3\xa9"}\n\n',
    b'data: {"b":1}\r\n\r\n',
    b": comment\n\n",
    b"event: x\nid: 1\ndata: y\n\n",
    b"data: mixed\n\r\n",
    b"\n\n",
    b"data: [DONE]\n\n",
]


@given(st.data())
def test_events_are_the_same_wherever_the_network_cuts(draw: st.DataObject) -> None:
    stream = b"".join(EVENTS) + b"data: unfini"
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)))))
    splitter = SseSplitter()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[start:end])
    assert found == EVENTS
    assert splitter.rest == b"data: unfini"


@given(st.lists(st.sampled_from([b"\n", b"\r", b"a", b"\n\n", b"data: "]).map(bytes)))
def test_no_byte_is_lost_or_made_up(pieces: list[bytes]) -> None:
    splitter = SseSplitter()
    found = [event for piece in pieces for event in splitter.feed(piece)]
    assert b"".join(found) + splitter.rest == b"".join(pieces)
    assert all(event.endswith((b"\n\n", b"\n\r\n")) for event in found)
    whole = SseSplitter()
    assert (whole.feed(b"".join(pieces)), whole.rest) == (found, splitter.rest)


def test_an_event_in_one_piece_is_handed_on_as_it_is() -> None:
    event = b"data: " + b"x" * 100 + b"\n\n"
    assert SseSplitter().feed(event)[0] is event


def test_a_large_event_in_small_pieces() -> None:
    event = b"data: " + b"x" * 4_000_000 + b"\n\n"
    splitter = SseSplitter()
    pieces = [event[start : start + 1000] for start in range(0, len(event), 1000)]
    found = [one for piece in pieces for one in splitter.feed(piece)]
    assert found == [event]
    assert splitter.rest == b""


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b'data: {"a":1}\n\n', b'{"a":1}'),
        (b"data:x\n\n", b"x"),
        (b"data:  x\r\n\r\n", b" x"),
        (b"data: x", b"x"),
        (b"id: 7\ndata: x\n: c\n\n", b"x"),
        (b"data:\n\n", b""),
        (b": comment\n\n", None),
        (b"event: data: x\n\n", None),
        (b"\n\n", None),
        (b"", None),
        (b'data: {"a":\ndata: 1}\n\n', None),
    ],
)
def test_where_the_data_is(event: bytes, data: bytes | None) -> None:
    span = data_span(event)
    assert (None if span is None else event[slice(*span)]) == data


def test_the_size_of_what_has_come_of_an_event() -> None:
    splitter = SseSplitter()
    assert splitter.size_bytes == 0
    splitter.feed(b"data: 1\n\ndata: 2")
    assert (splitter.size_bytes, splitter.rest) == (7, b"data: 2")


def test_what_has_come_of_an_event_can_be_taken() -> None:
    splitter = SseSplitter()
    for piece in (b"data: 1\n\nda", b"ta: ", b"2\n"):
        splitter.feed(piece)
    assert splitter.take_rest() == [b"da", b"ta: ", b"2\n"]
    assert (splitter.take_rest(), splitter.rest, splitter.size_bytes) == ([], b"", 0)
    assert splitter.feed(b"\ndata: 3\n\n") == [b"\ndata: 3\n\n"]
