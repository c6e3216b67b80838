from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.events import Event
from miles_router.tui.event_stream import MAX_LINE_BYTES, EventStream, NotEvents

EVENTS = [
    Event(1, 1_786_000_000.5, "worker_added", "http://a:1 added", url="http://a:1"),
    Event(2, 1_786_000_001.0, "state", "zwei\nZeilen — ü", from_state="joining", to_state="active"),
    Event(7, 1_786_000_002.0, "state", "", worker_id="w1"),
]


def encode(event: Event) -> bytes:
    """As the router does."""
    data = msgspec.json.encode(event)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.kind.encode(), data)


WIRE = b": still here\n\n".join(encode(event) for event in EVENTS)


@given(cuts=st.lists(st.integers(0, len(WIRE)), max_size=12))
def test_pieces_of_any_size_give_the_same_events(cuts: list[int]) -> None:
    stream, found = EventStream(), []
    places = [0, *sorted(cuts), len(WIRE)]
    for begin, end in itertools.pairwise(places):
        found += stream.feed(WIRE[begin:end])
    assert found == EVENTS


def test_what_is_no_event_is_passed_over() -> None:
    odd = b'retry: 10\n\ndata: [DONE]\n\ndata: {"seq": "x"}\n\ndata\n\ndata: \xff\n\r\n'
    assert EventStream().feed(odd + encode(EVENTS[0])) == EVENTS[:1]


def test_fields_of_a_newer_router_are_passed_over() -> None:
    line = b'data: {"seq":3,"time_s":1.0,"kind":"k","message":"m","colour":"red"}\r\n\r\n'
    assert EventStream().feed(line) == [Event(3, 1.0, "k", "m")]


def test_a_line_without_an_end_is_no_stream_of_events() -> None:
    stream = EventStream()
    assert stream.feed(b"x" * MAX_LINE_BYTES) == []
    with pytest.raises(NotEvents):
        stream.feed(b"x")
