"""Which idle connection is handed out, and which are closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import Worker, WorkerSpec
from miles_router.net import idle
from miles_router.net.idle import MAX_IDLE_S, IdleConnections
from miles_router.net.upstream import Connection
from tests.doubles.memory_net import MemoryStream, memory_connection

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock


def worker_named(name: str) -> Worker:
    return Worker(name, WorkerSpec(parse_worker_url("http://127.0.0.1:1")), 0.0)


async def used(worker: Worker) -> tuple[Connection, MemoryStream]:
    """A connection that has served one request."""
    near, far = memory_connection()
    connection = Connection(worker, near)  # type: ignore[arg-type]  # in memory
    connection.begin(is_head=False)
    await far.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    await connection.read_head()
    return connection, far


async def test_the_newest_comes_first(autojump_clock: Clock) -> None:
    pool, worker = IdleConnections(), worker_named("w1")
    first, _far1 = await used(worker)
    second, _far2 = await used(worker)
    pool.give(first)
    pool.give(second)
    assert pool.take(worker_named("w2")) is None
    assert (pool.take(worker), pool.take(worker), pool.take(worker)) == (second, first, None)
    assert first.is_reused


async def test_what_stood_too_long_is_closed(autojump_clock: Clock) -> None:
    pool, worker = IdleConnections(), worker_named("w1")
    for take in (True, False):
        connection, far = await used(worker)
        pool.give(connection)
        await trio.sleep(MAX_IDLE_S)
        if take:
            assert pool.take(worker) is None
        else:
            pool.sweep()
        assert len(pool) == 0
        assert await far.receive_some() == b""


async def test_what_the_worker_closed_is_not_handed_out(autojump_clock: Clock) -> None:
    pool, worker = IdleConnections(), worker_named("w1")
    good, _far = await used(worker)
    closed, far_closed = await used(worker)
    noisy, far_noisy = await used(worker)
    for connection in (good, closed, noisy):
        pool.give(connection)
    await far_closed.send_eof()
    await far_noisy.send_all(b"HTTP/1.1 408 Too Slow\r\n\r\n")
    assert pool.take(worker) is good
    assert len(pool) == 0


async def test_what_cannot_be_reused_is_closed() -> None:
    pool = IdleConnections()
    near, far = memory_connection()
    pool.give(Connection(worker_named("w1"), near))  # type: ignore[arg-type]  # in memory
    assert len(pool) == 0
    assert await far.receive_some() == b""


async def test_the_oldest_gives_way() -> None:
    assert idle.MAX_IDLE_PER_WORKER == 512
    pool, worker = IdleConnections(), worker_named("w1")
    oldest, far = await used(worker)
    pool.give(oldest)
    for _ in range(512):
        connection, _far = await used(worker)
        pool.give(connection)
    assert len(pool) == 512
    assert await far.receive_some() == b""
    pool.close_all()
    assert len(pool) == 0
