"""The screens' source for the router in this process, whose loop runs in another thread.

Only immutable values are read from over there; commands go through the router's own ASGI app, so
that they are checked and answered as those of any other client. Nothing here starts or ends it.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  it runs on the screens' loop
import time
from typing import TYPE_CHECKING, Any, Protocol

from miles_router.tui.asgi_call import NoAnswer, asgi_call
from miles_router.tui.commands import CommandRefused
from miles_router.tui.source import Link, LinkState
from miles_router.tui.stopped import RouterStopped
from miles_router.tui.wire import call_for, sentence_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from miles_router.core.events import Event
    from miles_router.core.log_ring import LogLine
    from miles_router.core.snapshot import Snapshot
    from miles_router.tui.asgi_call import App
    from miles_router.tui.commands import Command

# Publishing fails, or the loop stands still, where nothing comes for so long and for so many times
# the last interval: a large pool is published less often than is wanted.
SILENCE_S = 3.0
SILENCE_INTERVALS = 5.0
LOOK_INTERVAL_S = 0.5


class Readers(Protocol):
    """What can be read from the router's thread at any moment; every value is immutable."""

    def latest(self) -> Snapshot | None:
        """The newest snapshot; another object each time that there is a newer one."""

    def events(self) -> Sequence[Event]:
        """The newest events, oldest first; the same object until there is another."""

    def log_lines(self) -> Sequence[LogLine]:
        """The newest log lines, oldest first; the same object until there is another."""

    def focus(self, worker_id: str | None) -> None:
        """Ask that snapshots list the oldest requests of this worker."""

    def want(self, rate_hz: float) -> None:
        """Ask for so many snapshots a second."""

    def is_running(self) -> bool:
        """Whether the router has not ended."""


class Caller(Protocol):
    """Runs an async function on the router's loop (`bridge.TrioThread.call`)."""

    async def __call__(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """What it returns; raises what it raises, and RouterStopped."""


class LocalSource:
    """A `Source` for the router whose `app` runs where `call` leads.

    `url` is where it listens. `token`: the admin token of its settings; without one, an API key
    where it asks for keys.
    """

    is_local = True

    def __init__(
        self,
        url: str,
        *,
        readers: Readers,
        call: Caller,
        app: App,
        token: str | None = None,
        is_read_only: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self.controls = LocalControls(call, app, token=token, is_read_only=is_read_only)
        self._readers = readers
        self._rate_hz = 0.0
        self._clock = clock
        self._link = Link(LinkState.WAITING, clock())
        self._seen: Snapshot | None = None
        self._seen_at = clock()
        self._interval_s = 0.0  # between the last two snapshots

    @property
    def rate_hz(self) -> float:
        """Snapshots per second that are wanted; may be set at any time."""
        return self._rate_hz

    @rate_hz.setter
    def rate_hz(self, rate_hz: float) -> None:
        if rate_hz != self._rate_hz:
            self._rate_hz = rate_hz
            self._readers.want(rate_hz)

    @property
    def link(self) -> Link:
        """LIVE while snapshots come, LOST when the router has ended."""
        return self._link

    def latest(self) -> Snapshot | None:
        """The newest snapshot."""
        self._look()
        return self._seen

    def events(self) -> Sequence[Event]:
        """The newest events, oldest first."""
        return self._readers.events()

    def log_lines(self) -> Sequence[LogLine]:
        """The newest log lines, oldest first."""
        return self._readers.log_lines()

    def focus(self, worker_id: str | None) -> None:
        """Ask that snapshots list the oldest requests of this worker."""
        self._readers.focus(worker_id)

    def reconnect(self) -> None:
        """There is no connection that could be lost."""

    async def run(self) -> None:
        """Watch whether snapshots come, until cancelled."""
        while True:
            self._look()
            await asyncio.sleep(LOOK_INTERVAL_S)

    def _look(self) -> None:
        now, newest = self._clock(), self._readers.latest()
        if newest is not self._seen:
            self._interval_s = 0.0 if self._seen is None else now - self._seen_at
            self._seen, self._seen_at = newest, now
            if self._link.state is not LinkState.LIVE:
                self._link = Link(LinkState.LIVE, now)
            return
        state, silence_s = self._link.state, now - self._seen_at
        if not self._readers.is_running():
            if state is not LinkState.LOST:
                self._link = Link(LinkState.LOST, self._seen_at, "the router has ended")
        elif state is LinkState.LIVE and silence_s > self._patience_s:
            self._link = Link(LinkState.SILENT, self._seen_at, "see the log")

    @property
    def _patience_s(self) -> float:
        return max(SILENCE_S, SILENCE_INTERVALS * self._interval_s)


class LocalControls:
    """Carries out commands on the router's own loop."""

    def __init__(
        self, call: Caller, app: App, *, token: str | None = None, is_read_only: bool = False
    ) -> None:
        self._call = call
        self._app = app
        self._token = token
        self._is_read_only = is_read_only

    @property
    def refusal(self) -> str:
        """Why no command can be carried out at all; empty if they can."""
        return "this UI is read-only (--read-only)" if self._is_read_only else ""

    async def perform(self, command: Command) -> str:
        """Carry out `command`; what was done.

        Cancellation: it is cancelled on the router's loop; what it did until then stays.

        Raises:
            CommandRefused: it was not done, or it is not known whether it was.
        """
        if self.refusal:
            raise CommandRefused(self.refusal)
        call = call_for(command)
        try:
            status, body = await self._call(_call_app, self._app, call, self._token)
        except (NoAnswer, RouterStopped) as error:
            raise CommandRefused(str(error)) from None
        return sentence_for(command, status, body)


async def _call_app(app: App, call: Any, token: str | None) -> tuple[int, bytes]:
    return await asgi_call(app, call, token=token)
