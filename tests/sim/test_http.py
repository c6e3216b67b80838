from __future__ import annotations

from itertools import pairwise

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from miles_router.sim.http import Connection, Reply, Request, head_bytes, may_have_body

HEAD = b"POST /a%20b/c?x=1&x=2 HTTP/1.1\r\nHost: w\r\nX-MiXed: One\r\nx-mixed: two\r\n"


async def parsed(pieces: list[bytes]) -> list[tuple[Request, bytes]]:
    """The requests that arrive in these pieces."""
    ours, theirs = trio.testing.memory_stream_pair()
    connection = Connection(theirs)
    found = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.receive)
        for piece in pieces:
            if piece:
                await ours.send_all(piece)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):
            request = await connection.next_request()
            found.append((request, await request.body()))
        nursery.cancel_scope.cancel()
    return found


@given(st.lists(st.integers(0, 240), max_size=6))
async def test_requests_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    first = HEAD + b"Content-Length: 5\r\n\r\nhello"
    second = HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    data = first + second
    bounds = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(bounds)]
    (one, body), (two, other) = await parsed(pieces)
    assert (body, other) == (b"hello", b"abcde")
    assert one.method == two.method == "POST"
    assert one.raw_target == two.raw_target == b"/a%20b/c?x=1&x=2"
    assert (one.path, one.query) == ("/a b/c", {"x": "2"})
    assert one.headers[:3] == [(b"Host", b"w"), (b"X-MiXed", b"One"), (b"x-mixed", b"two")]
    assert one.header("x-mixed") == "One"
    assert one.keep_alive


async def test_a_reader_that_does_not_read_makes_the_client_wait() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    connection = Connection(theirs)
    sent = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.receive)
        await ours.send_all(b"POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 10000000\r\n\r\n")
        piece = b"x" * 100_000
        for _ in range(100):
            with trio.move_on_after(0.01):
                await trio.testing.wait_all_tasks_blocked()
            if theirs.receive_stream._incoming._data:
                break
            await ours.send_all(piece)
            sent += len(piece)
        assert 1_000_000 < sent < 1_400_000
        nursery.cancel_scope.cancel()


def test_replies() -> None:
    assert Reply.json({"a": float("nan")}, 201) == Reply(
        201, b'{"a":null}', (("content-type", "application/json"),)
    )
    assert Reply.text("hé").body == "hé".encode()
    assert head_bytes(503, [("a", "b"), ("a", "c")]) == (
        b"HTTP/1.1 503 Service Unavailable\r\na: b\r\na: c\r\n\r\n"
    )
    allowed = [may_have_body(*one) for one in [(200, "GET"), (204, "GET"), (304, "GET")]]
    assert allowed == [True, False, False]
    assert not may_have_body(200, "HEAD")
