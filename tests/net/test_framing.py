"""An answer as the lane writes it is an answer as h11 writes it, byte for byte."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.net.framing import framing_of

Headers = list[tuple[bytes, bytes]]


def by_h11(status: int, headers: Headers, pieces: list[bytes], *, closes: bool) -> bytes | str:
    """What h11 writes, or why it does not, as Hypercorn would ask it to."""
    connection = h11.Connection(h11.SERVER)
    asked = b"connection: close\r\n" if closes else b""
    connection.receive_data(b"GET / HTTP/1.1\r\nhost: a\r\n%b\r\n" % asked)
    for _ in range(2):
        connection.next_event()
    stripped = [(name.strip(), value.strip()) for name, value in headers]
    try:
        head = h11.Response(status_code=status, headers=stripped)
        written = connection.send(head) or b""
        for piece in pieces:
            if piece and status not in {204, 304}:
                written += connection.send(h11.Data(data=piece)) or b""
        return written + (connection.send(h11.EndOfMessage()) or b"")
    except h11.LocalProtocolError as error:
        return str(error)


def by_lane(status: int, headers: Headers, pieces: list[bytes], *, closes: bool) -> bytes | str:
    try:
        framing = framing_of({"status": status, "headers": headers}, closes=closes)
        written = framing.head
        for piece in pieces:
            written += b"".join(framing.body(piece, is_last=False))
        return written + b"".join(framing.body(b"", is_last=True))
    except h11.LocalProtocolError as error:
        return str(error)


GOOD_NAMES = [b"x-a", b"Content-Type", b"date", b"connection"]
FRAMING_NAMES = [b"content-length", b"Content-Length", b"transfer-encoding"]
BAD_NAMES = [b" x-b ", b"bad name", b"bad:name", b"", b"x\xe4", b"x\n"]
GOOD_VALUES = [b"", b"a", b"a\tb", b"a  b", b"\xe4", b"0", b"5", b"chunked", b"close"]
ODD_VALUES = [b" a ", b"\ta", b"a\t", b" 5", b"+5", b"5, 5"]
BAD_VALUES = [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b", b"\x01"]
NAMES = st.sampled_from([*GOOD_NAMES, *FRAMING_NAMES, *BAD_NAMES])
VALUES = st.sampled_from([*GOOD_VALUES, *ODD_VALUES, *BAD_VALUES]) | st.binary(max_size=4)


@given(
    status=st.sampled_from([200, 201, 204, 304, 404, 503, 599, 600, 999, 1000, 199, 100]),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=4),
    pieces=st.lists(st.sampled_from([b"", b"ab", b"abc", b"abcde"]), max_size=3),
    closes=st.booleans(),
)
def test_the_lane_writes_and_refuses_what_h11_does(
    status: int, headers: Headers, pieces: list[bytes], closes: bool
) -> None:
    expected = by_h11(status, headers, pieces, closes=closes)
    assert by_lane(status, headers, pieces, closes=closes) == expected


@pytest.mark.parametrize(
    ("headers", "closes", "ends"),
    [
        ([], False, False),
        ([], True, True),
        ([(b"connection", b"close")], False, True),
        ([(b"connection", b"keep-alive")], False, False),
    ],
)
def test_whether_the_connection_ends_with_it(headers: Headers, closes: bool, ends: bool) -> None:
    framing = framing_of({"status": 200, "headers": headers}, closes=closes)
    framing.body(b"", is_last=True)
    assert framing.closes is ends


def test_the_names_that_are_remembered_are_few() -> None:
    for number in range(3_000):
        framing_of({"status": 200, "headers": [(b"x-%d" % number, b"a")]}, closes=False)
    framing = framing_of({"status": 200, "headers": [(b"x-one-more", b"a")]}, closes=False)
    assert b"x-one-more: a\r\n" in framing.head
