from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.tui.bridge import Requests, TrioThread
from miles_router.tui.commands import Add, CommandRefused, Drain
from miles_router.tui.local_source import SILENCE_S, LocalSource
from miles_router.tui.source import Link, LinkState
from miles_router.tui.stopped import RouterStopped
from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.web.rig import ADMIN, open_router

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.core.events import Event
    from miles_router.core.log_ring import LogLine
    from miles_router.core.snapshot import Snapshot

URL = "http://127.0.0.1:30000"


class Shelf:
    """Readers whose values are set by hand."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.focused: str | None = None
        self.wanted: list[float] = []
        self.has_ended = False
        self.kept_events = pictures.events(pictures.picture(3).workers)
        self.lines = pictures.log_lines()

    def latest(self) -> Snapshot | None:
        return self.snapshot

    def events(self) -> tuple[Event, ...]:
        return self.kept_events

    def log_lines(self) -> tuple[LogLine, ...]:
        return self.lines

    def want(self, rate_hz: float) -> None:
        self.wanted.append(rate_hz)

    def is_running(self) -> bool:
        return not self.has_ended

    def focus(self, worker_id: str | None) -> None:
        self.focused = worker_id


async def no_call(function: Callable[..., Any], /, *args: Any) -> Any:
    raise RouterStopped


async def no_app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    raise AssertionError("it was called")


def source_of(shelf: Shelf, now: list[float], **options: Any) -> LocalSource:
    return LocalSource(
        URL, readers=shelf, call=no_call, app=no_app, clock=lambda: now[0], **options
    )


def state_of(source: LocalSource) -> LinkState:
    return source.link.state


def test_it_shows_what_is_on_the_shelf() -> None:
    shelf = Shelf()
    source = source_of(shelf, [0.0])
    assert source.is_local
    assert source.latest() is None
    assert state_of(source) is LinkState.WAITING
    shelf.snapshot = pictures.picture(3)
    assert source.latest() is shelf.snapshot
    assert state_of(source) is LinkState.LIVE
    assert source.events() is shelf.kept_events
    assert source.log_lines() is shelf.lines
    source.focus("w1")
    assert shelf.focused == "w1"
    source.rate_hz = 10.0
    source.rate_hz = 10.0
    assert (source.rate_hz, shelf.wanted) == (10.0, [10.0])


def test_a_router_that_says_nothing_is_silent_until_it_does() -> None:
    shelf, now = Shelf(), [0.0]
    shelf.snapshot = pictures.picture(3)
    source = source_of(shelf, now)
    source.latest()
    now[0] = SILENCE_S
    source.latest()
    assert state_of(source) is LinkState.LIVE
    now[0] = SILENCE_S + 0.1
    assert source.latest() is shelf.snapshot
    assert state_of(source) is LinkState.SILENT
    assert (source.link.since, source.link.detail) == (0.0, "see the log")
    shelf.snapshot = pictures.picture(3, step=1)
    source.latest()
    assert state_of(source) is LinkState.LIVE
    assert source.link.since == now[0]


def test_a_router_that_is_published_seldom_is_not_silent_between() -> None:
    shelf, now = Shelf(), [0.0]
    source = source_of(shelf, now)
    for step in range(2):
        now[0] = 2.0 * step
        shelf.snapshot = pictures.picture(3, step=step)
        source.latest()
    for at, state in ((11.9, LinkState.LIVE), (12.1, LinkState.SILENT)):
        now[0] = at
        source.latest()
        assert state_of(source) is state


def test_a_router_that_has_ended_is_lost_at_once() -> None:
    shelf, now = Shelf(), [0.0]
    shelf.snapshot = pictures.picture(3)
    source = source_of(shelf, now)
    source.latest()
    now[0], shelf.has_ended = 0.5, True
    source.latest()
    assert source.link == Link(LinkState.LOST, 0.0, "the router has ended")
    now[0] = 9.0
    source.latest()
    assert source.link == Link(LinkState.LOST, 0.0, "the router has ended")


@tui_test
async def test_it_looks_by_itself() -> None:
    shelf = Shelf()
    shelf.snapshot = pictures.picture(3)
    source = source_of(shelf, [0.0])
    task = asyncio.create_task(source.run())
    await asyncio.sleep(0.01)
    assert state_of(source) is LinkState.LIVE
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@tui_test
async def test_no_command_when_it_is_read_only_or_has_stopped() -> None:
    source = source_of(Shelf(), [0.0], is_read_only=True)
    with pytest.raises(CommandRefused, match="read-only"):
        await source.controls.perform(Drain("w1"))
    source = source_of(Shelf(), [0.0])
    assert source.controls.refusal == ""
    with pytest.raises(CommandRefused, match="the router has stopped"):
        await source.controls.perform(Drain("w1"))


@tui_test
async def test_commands_go_through_the_routers_own_app() -> None:
    async def work(requests: Requests[Any]) -> None:
        async with open_router(admin_token=ADMIN) as rig:
            requests.ready(rig.app)
            await requests.stops.receive()

    thread: TrioThread[Any] = TrioThread(work)
    app = thread.start()
    try:
        own = LocalSource(URL, readers=Shelf(), call=thread.call, app=app, token=ADMIN)
        added = await own.controls.perform(Add("http://10.0.0.1:30000"))
        assert added == ("10.0.0.1:30000 is registered; it serves when a health check has passed")
        with pytest.raises(CommandRefused, match="no worker 'w1'"):
            await own.controls.perform(Drain("w1"))
        stranger = LocalSource(URL, readers=Shelf(), call=thread.call, app=app)
        with pytest.raises(CommandRefused, match="needs the admin token"):
            await stranger.controls.perform(Drain("w1"))
    finally:
        thread.stop("test")
        thread.join()


@tui_test
async def test_a_command_that_is_given_up_ends_on_the_routers_side() -> None:
    ended = []

    async def hanging(scope: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(scope["path"])

    async def work(requests: Requests[None]) -> None:
        requests.ready(None)
        await requests.stops.receive()

    thread: TrioThread[None] = TrioThread(work)
    thread.start()
    try:
        source = LocalSource(URL, readers=Shelf(), call=thread.call, app=hanging)
        task = asyncio.create_task(source.controls.perform(Drain("w1")))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            while not ended:  # noqa: ASYNC110  it is another loop
                await asyncio.sleep(0.005)
        assert ended == ["/workers/w1/drain"]
    finally:
        thread.stop("test")
        thread.join()
