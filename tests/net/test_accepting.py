"""A listener in trouble says so in the router's own log, and not ten times a second."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Any, cast

import structlog
import structlog.testing
import trio

from miles_router.net.accepting import REPEAT_AFTER_S, accept_troubles_to

if TYPE_CHECKING:
    import pytest
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
