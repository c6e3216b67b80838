"""A listener in trouble says so in the router's own log, and not ten times a second."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
import structlog.testing
import trio

from miles_router.net.accepting import (
    MOST_AT_ONCE,
    REPEAT_AFTER_S,
    BurstListener,
    accept_troubles_to,
)

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock


class Exhausted:
    """A listener of a process that is out of descriptors."""

    def __init__(self) -> None:
        self.asked = 0

    async def accept(self) -> trio.SocketStream:
        self.asked += 1
        raise OSError(errno.EMFILE, "Too many open files")

    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, *_: object) -> None:
        return


async def test_trouble_is_told_now_and_then_and_nowhere_else(
    autojump_clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    listener = Exhausted()
    with structlog.testing.capture_logs() as logged:
        log = structlog.get_logger()
        with trio.move_on_after(2.5 * REPEAT_AFTER_S), accept_troubles_to(log):
            await trio.serve_listeners(cast("Any", None), [cast("Any", listener)])
    assert listener.asked > 100, "it goes on"
    assert [line["event"] for line in logged] == ["cannot_accept"] * 3
    assert "EMFILE" in logged[0]["why"]
    assert "ulimit -n" in logged[0]["advice"]
    assert capfd.readouterr() == ("", "")


def test_the_standard_logger_is_left_as_it_was() -> None:
    logger = logging.getLogger("trio.serve_listeners")
    with accept_troubles_to(structlog.get_logger()):
        assert not logger.propagate
    assert logger.propagate
    assert logger.handlers == []


@pytest.mark.loopback
async def test_all_who_wait_are_taken_in_one_turn() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    (plain,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=200)
    address = plain.socket.getsockname()
    async with BurstListener(plain) as listener, trio.open_nursery() as nursery:
        clients = [await trio.open_tcp_stream(*address) for _ in range(MOST_AT_ONCE + 10)]
        first = await listener.accept()
        nursery.start_soon(count_turns)
        taken = [first, *[await listener.accept() for _ in range(MOST_AT_ONCE)]]
        assert turns == 0
        await clients[0].send_all(b"a")
        assert await taken[0].receive_some() == b"a"
        taken += [await listener.accept() for _ in range(5)]
        nursery.cancel_scope.cancel()
    for stream in (*clients, *taken):
        stream.socket.close()
    with pytest.raises(OSError, match="all attempts"):
        await trio.open_tcp_stream(*address)
