"""What the gate refuses, what it lets pass, and that no cutting of the bytes changes either."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.net.gate import MAX_HEAD_BYTES, Gate

if TYPE_CHECKING:
    from miles_router.net.request_head import Refusal

HOST = b"Host: a\r\n"
POST = b"POST /generate HTTP/1.1\r\n" + HOST
GET = b"GET / HTTP/1.1\r\n" + HOST

REFUSED: dict[str, tuple[bytes, int]] = {
    "length then chunked": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunked then length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    "the same length twice": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "list of lengths": (POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    "negative length": (POST + b"Content-Length: -5\r\n\r\nhello", 400),
    "plus length": (POST + b"Content-Length: +5\r\n\r\nhello", 400),
    "empty length": (POST + b"Content-Length: \r\n\r\nhello", 400),
    "hexadecimal length": (POST + b"Content-Length: 0x5\r\n\r\nhello", 400),
    "huge length": (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    "folded header": (GET + b"X: a\r\n b\r\n\r\n", 400),
    "bare LF after a header": (GET + b"X: a\nY: b\r\n\r\n", 400),
    "bare LF at the end": (GET + b"\n", 400),
    "bare LF everywhere": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare CR in a value": (GET + b"X: a\rY: b\r\n\r\n", 400),
    "space before the colon": (GET + b"X : a\r\n\r\n", 400),
    "length with space before the colon": (POST + b"Content-Length : 5\r\n\r\nhello", 400),
    "space before the first header": (b"GET / HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n", 400),
    "no colon": (GET + b"nonsense\r\n\r\n", 400),
    "empty name": (GET + b": a\r\n\r\n", 400),
    "NUL in a value": (GET + b"X: a\0b\r\n\r\n", 400),
    "NUL in a name": (GET + b"X\0: a\r\n\r\n", 400),
    "control character in a value": (GET + b"X: a\x0bb\r\n\r\n", 400),
    "DEL in a value": (GET + b"X: a\x7fb\r\n\r\n", 400),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "space in the target": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "two spaces before the target": (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "two spaces before the version": (b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "bytes beyond ASCII in the target": (b"GET /\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "unknown method": (b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "lower-case method": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "version 2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400),
    "version 0.9": (b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 400),
    "version 1.2": (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "garbage": (b"\xff\xfe\x00hello", 400),
    "no host": (b"GET / HTTP/1.1\r\nX: a\r\n\r\n", 400),
    "two hosts": (GET + b"Host: b\r\n\r\n", 400),
    "two hosts in HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "TE identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 400),
    "TE gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "TE chunked, chunked": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "TE xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "TE twice": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "TE after vertical tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "TE empty": (POST + b"Transfer-Encoding: \r\n\r\n", 400),
    "TE in HTTP/1.0": (
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "bad chunk size": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "chunk size with 0x": (POST + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n", 400),
    "chunk longer than its size": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
        400,
    ),
    "chunk with bare LF": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n", 400),
    "websocket": (
        GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
        501,
    ),
    "h2c": (GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", 501),
    "upgrade alone": (GET + b"Upgrade: h2c\r\n\r\n", 501),
    "connect": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
    "good then bad": (GET + b"\r\n" + POST + b"Content-Length: x\r\n\r\n", 400),
    "large head": (GET + b"X: " + b"a" * (3 * MAX_HEAD_BYTES) + b"\r\n\r\n", 400),
    "many headers": (GET + b"X: aaaaaaaa\r\n" * 20_000 + b"\r\n", 400),
    "RTSP": (b"GET /a RTSP/1.0\r\n" + HOST + b"\r\n", 400),
    "RTSP method": (b"DESCRIBE /a RTSP/1.0\r\n" + HOST + b"\r\n", 400),
    "ICE": (b"SOURCE /a ICE/1.0\r\n" + HOST + b"\r\n", 400),
    "RTSP behind a request": (GET + b"\r\n" + b"GET /a RTSP/1.0\r\n" + HOST + b"\r\n", 400),
    "empty line between requests": (GET + b"\r\n" + b"\r\n" + GET + b"\r\n", 400),
    "empty line behind a body": (POST + b"Content-Length: 1\r\n\r\nx\r\n" + GET + b"\r\n", 400),
    "line feed behind a body": (POST + b"Content-Length: 1\r\n\r\nx\n" + GET + b"\r\n", 400),
    "empty line behind chunks": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\r\n" + GET + b"\r\n",
        400,
    ),
    "empty line behind the last request": (POST + b"Content-Length: 1\r\n\r\nx\r\n", 400),
    "length of 21 digits": (POST + b"Content-Length: 000000000000000000005\r\n\r\nhello", 400),
    "length of 5000 digits": (POST + b"Content-Length: " + b"0" * 5000 + b"\r\n\r\n", 400),
    "large chunk extension": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"a" * 300_000 + b"\r\nabc\r\n0\r\n\r\n",
        400,
    ),
    "large trailer": (
        POST
        + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: "
        + b"a" * 300_000
        + b"\r\n\r\n",
        400,
    ),
    "many trailers": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: aaaaaaaa\r\n" * 20_000 + b"\r\n",
        400,
    ),
    "large target": (b"GET /" + b"a" * (3 * MAX_HEAD_BYTES) + b" HTTP/1.1\r\n\r\n", 400),
}

ACCEPTED: dict[str, tuple[bytes, int]] = {
    "get": (GET + b"\r\n", 1),
    "post": (POST + b"Content-Length: 5\r\n\r\nhello", 1),
    "chunked": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX: t\r\n\r\n",
        1,
    ),
    "chunked in capitals": (POST + b"TRANSFER-ENCODING: Chunked\r\n\r\n0\r\n\r\n", 1),
    "http/1.0": (b"GET / HTTP/1.0\r\n\r\n", 1),
    "http/1.0 with a body": (b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", 1),
    "absolute form": (b"GET http://a/b HTTP/1.1\r\n" + HOST + b"\r\n", 1),
    "options": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 1),
    "expect": (POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", 1),
    "empty value": (GET + b"X:\r\n\r\n", 1),
    "value beyond ASCII": (GET + b"X: \xc3\xa4\r\n\r\n", 1),
    "pipelined": (
        (GET + b"\r\n") * 3
        + POST
        + b"Content-Length: 5\r\n\r\nhello"
        + POST
        + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        + GET
        + b"\r\n",
        6,
    ),
    "empty lines in a body": (
        POST + b"Content-Length: 12\r\n\r\n\r\n\r\nx\r\n\r\nGET" + GET + b"\r\n",
        2,
    ),
    "empty lines in chunks": (
        POST
        + b"Transfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n"
        + b"f\r\n\r\n0\r\n\r\nGET / HT\r\n00;x=y\r\nX: t\r\nY: u\r\n\r\n"
        + GET
        + b"\r\n",
        2,
    ),
    "many small chunks": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 30_000 + b"0\r\n\r\n",
        1,
    ),
    "one large chunk": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n30d40\r\n" + b"x" * 200_000 + b"\r\n0\r\n\r\n",
        1,
    ),
    "trailers that are not too large": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        1,
    ),
    "length with leading zeros": (POST + b"Content-Length: 0005\r\n\r\nhello", 1),
    "a head that ends the data with its body": (
        POST + b"Content-Length: 0\r\n\r\n" + GET + b"\r\n",
        2,
    ),
    "large but not too large": (GET + b"X: " + b"a" * 60_000 + b"\r\n\r\n", 1),
}


def feed(pieces: list[bytes]) -> tuple[Gate, Refusal | None]:
    gate = Gate()
    for piece in pieces:
        refusal = gate.check(piece)
        if refusal is not None:
            return gate, refusal
    return gate, None


def cut(data: bytes, cuts: set[int]) -> list[bytes]:
    edges = [0, *sorted(c for c in cuts if c < len(data)), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, status = REFUSED[name]
    _, refusal = feed([data])
    assert refusal is not None
    assert refusal.status == status
    assert refusal.message


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_network_sized_pieces(name: str) -> None:
    data, status = REFUSED[name]
    _, refusal = feed([data[i : i + 1400] for i in range(0, len(data), 1400)])
    assert refusal is not None
    assert refusal.status == status


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    data, requests = ACCEPTED[name]
    gate, refusal = feed([data])
    assert refusal is None
    assert gate.requests == requests


@given(name=st.sampled_from(sorted(REFUSED)), cuts=st.sets(st.integers(1, 200), max_size=12))
def test_no_cutting_gets_past(name: str, cuts: set[int]) -> None:
    data, status = REFUSED[name]
    _, refusal = feed(cut(data, cuts))
    assert refusal is not None
    assert refusal.status == status


@given(name=st.sampled_from(sorted(ACCEPTED)), cuts=st.sets(st.integers(1, 500), max_size=12))
def test_no_cutting_is_refused(name: str, cuts: set[int]) -> None:
    data, requests = ACCEPTED[name]
    gate, refusal = feed(cut(data, cuts))
    assert refusal is None
    assert gate.requests == requests


def test_a_head_without_an_end_is_refused_before_it_costs_memory() -> None:
    gate = Gate()
    fed_bytes = 0
    assert gate.check(GET + b"X: ") is None
    while gate.check(b"a" * 1000) is None:
        fed_bytes += 1000
        assert fed_bytes <= 2 * MAX_HEAD_BYTES


def test_a_body_does_not_count_as_head() -> None:
    size = 20 * MAX_HEAD_BYTES
    gate, refusal = feed([POST + b"Content-Length: %d\r\n\r\n" % size, b"x" * size, GET + b"\r\n"])
    assert refusal is None
    assert gate.requests == 2


MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 150),
        st.sampled_from(
            [b"", b" ", b"\t", b"\r", b"\n", b"\0", b":", b",", b"\x80", b"a", b"0", b"\r\n"]
        ),
    ),
    min_size=1,
    max_size=3,
)


@given(
    name=st.sampled_from(sorted(name for name in ACCEPTED if len(ACCEPTED[name][0]) < 1000)),
    mutations=MUTATIONS,
)
def test_the_server_takes_whatever_passes(name: str, mutations: list[tuple[int, bytes]]) -> None:
    """Nothing that passes the gate makes the server behind it answer in its own words."""
    data = bytearray(ACCEPTED[name][0])
    for position, replacement in mutations:
        data[position : position + 1] = replacement
    gate, refusal = feed([bytes(data)])
    if refusal is not None:
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(bytes(data))
    assert requests_seen(server) in {gate.requests, None}


def requests_seen(server: h11.Connection) -> int | None:
    """How many requests h11 makes of what it was fed; None if it stops after one."""
    requests = 0
    while (event := server.next_event()) is not h11.NEED_DATA:
        requests += isinstance(event, h11.Request)
        if event is h11.PAUSED:
            if server.our_state is not h11.SEND_RESPONSE:
                return None
            server.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
            server.send(h11.EndOfMessage())
            if server.states[h11.SERVER] is not h11.DONE:
                return None
            server.start_next_cycle()
    return requests


@pytest.mark.parametrize("line", [b"\r\n", b"\n", b"\n\n"])
def test_an_empty_line_is_no_request(line: bytes) -> None:
    good = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    refusal = Gate().check(line + good)
    assert refusal is not None
    assert (refusal.status, refusal.code) == (400, "bad_request")
    gate = Gate()
    assert gate.check(good) is None
    assert gate.check(line) is not None


def test_targets_are_kept_to_the_byte_in_the_order_of_their_requests() -> None:
    gate = Gate()
    data = b"".join(
        b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target
        for target in (b"/a?", b"/b??", b"http://h/c")
    )
    for start in range(0, len(data), 7):
        assert gate.check(data[start : start + 7]) is None
    assert [gate.take_target() for _ in range(3)] == [b"/a?", b"/b??", b"http://h/c"]
