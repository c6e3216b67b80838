"""One connection to a worker: answers in any cutting, and when it may be used again."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import Worker, WorkerSpec
from miles_router.errors import WorkerBroke
from miles_router.net.request_bytes import request_head
from miles_router.net.upstream import MAX_HEAD_BYTES, Connection
from tests.doubles.memory_net import MemoryStream, memory_connection

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@dataclass
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    is_reusable: bool


def connect() -> tuple[Connection, MemoryStream]:
    near, far = memory_connection()
    worker = Worker("w1", WorkerSpec(parse_worker_url("http://127.0.0.1:1")), 0.0)
    return Connection(worker, near), far  # type: ignore[arg-type]  # a stream in memory


async def read(connection: Connection, *, is_head: bool = False) -> Answer:
    connection.begin(is_head=is_head)
    head = await connection.read_head()
    body = b""
    while (chunk := await connection.read_chunk()) is not None:
        body += chunk
    return Answer(head.status, head.headers, body, connection.is_reusable)


async def read_pieces(*pieces: bytes, closes: bool = True, is_head: bool = False) -> Answer:
    """What the connection makes of an answer that arrives in `pieces`."""
    connection, far = connect()
    failure: WorkerBroke | None = None
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            for piece in pieces:
                await far.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()
            if closes:
                await far.send_eof()

        nursery.start_soon(serve)
        try:
            answer = await read(connection, is_head=is_head)
        except WorkerBroke as fault:
            failure = fault
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return answer


WHOLE = {
    "length": (OK, 200, b"hello", True),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
        200,
        b"hello world",
        True,
    ),
    "trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        200,
        b"hello",
        True,
    ),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304, b"", True),
    "error": (b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}", 500, b"{}", True),
    "interim": (
        b"HTTP/1.1 100 Continue\r\nX-A: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK,
        200,
        b"hello",
        True,
    ),
    "close": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        200,
        b"hello",
        False,
    ),
    "until the end": (b"HTTP/1.1 200 OK\r\n\r\nhello", 200, b"hello", False),
    "http/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", False),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_complete_answers(name: str, autojump_clock: trio.abc.Clock) -> None:
    data, status, body, is_reusable = WHOLE[name]
    answer = await read_pieces(data)
    assert (answer.status, answer.body, answer.is_reusable) == (status, body, is_reusable)
    assert b"x-sum" not in dict(answer.headers)
    assert b"link" not in dict(answer.headers)


@given(name=st.sampled_from(sorted(WHOLE)), cuts=st.sets(st.integers(1, 120), max_size=8))
def test_no_cutting_changes_an_answer(name: str, cuts: set[int]) -> None:
    data, status, body, is_reusable = WHOLE[name]
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    answer = trio.run(read_pieces, *pieces)
    assert (answer.status, answer.body, answer.is_reusable) == (status, body, is_reusable)


async def test_a_connection_serves_one_answer_after_another() -> None:
    connection, far = connect()
    for number in range(3):
        body = b"%d" % number
        await far.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + body)
        answer = await read(connection)
        assert (answer.body, answer.is_reusable) == (body, True)


@pytest.mark.parametrize(
    ("framing", "is_reusable"),
    [(b"Content-Length: 5", True), (b"Transfer-Encoding: chunked", True), (b"X: y", False)],
)
async def test_the_answer_to_head_has_no_body(framing: bytes, is_reusable: bool) -> None:
    answer = await read_pieces(
        b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n", closes=False, is_head=True
    )
    assert (answer.body, answer.is_reusable) == (b"", is_reusable)


async def test_body_bytes_after_head_are_no_body_and_spoil_the_connection() -> None:
    answer = await read_pieces(OK, closes=False, is_head=True)
    assert (answer.body, answer.is_reusable) == (b"", False)


@pytest.mark.parametrize(
    "extra", [b"HTTP/1.1 500 No\r\nX-B: 1\r\nContent-Length: 3\r\n\r\nbad", b"H", b"?"]
)
async def test_what_follows_an_answer_is_ignored_and_spoils_the_connection(extra: bytes) -> None:
    answer = await read_pieces(OK + extra, closes=False)
    assert (answer.status, answer.body, answer.is_reusable) == (200, b"hello", False)
    assert answer.headers == [(b"content-length", b"5")]


async def test_a_second_answer_after_an_empty_one_spoils_the_connection() -> None:
    answer = await read_pieces(b"HTTP/1.1 204 No Content\r\n\r\n" + OK, closes=False)
    assert (answer.status, answer.body, answer.is_reusable) == (204, b"", False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * (MAX_HEAD_BYTES * 3),
        b"HTTP/1.1 103 Early\r\nX: 1\r\n\r\n" * 40_000,
    ],
    ids=lambda data: repr(data[:70]),
)
async def test_broken_answers(data: bytes) -> None:
    with pytest.raises(WorkerBroke) as caught:
        await read_pieces(data)
    assert caught.value.message.startswith("http://127.0.0.1:1")


async def test_a_closed_connection_is_not_reusable_and_closes_once() -> None:
    connection, far = connect()
    await far.send_all(OK)
    assert (await read(connection)).is_reusable
    connection.close()
    connection.close()
    assert not connection.is_reusable
    with pytest.raises(WorkerBroke):
        await connection.send(b"x")


async def test_an_unfinished_answer_is_not_reusable() -> None:
    connection, far = connect()
    await far.send_all(OK[:-1])
    connection.begin(is_head=False)
    assert not connection.has_answer_bytes
    await connection.read_head()
    assert await connection.read_chunk() == b"hell"
    assert connection.has_answer_bytes
    assert not connection.is_reusable


def test_the_request_head() -> None:
    head = request_head(
        "POST",
        b"/a?b=%20",
        "h:1",
        [(b"x", b"1"), (b"x", b"2")],
        framing=[(b"content-length", b"0")],
    )
    assert head == (
        b"POST /a?b=%20 HTTP/1.1\r\nhost: h:1\r\nx: 1\r\nx: 2\r\ncontent-length: 0\r\n\r\n"
    )
