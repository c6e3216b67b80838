"""The router in a thread of this process, and what screens in its main thread see of it.

Decides what crosses between the two threads: immutable values outwards, calls to the router's ASGI
app inwards. It must not know how the screens look (`tui.look`), nor when they come and go
(`tui.host`).
"""

from __future__ import annotations

from collections import deque
from contextlib import redirect_stderr
from functools import partial
from typing import TYPE_CHECKING

import trio

from miles_router import app as router_app
from miles_router.core.counted import counted
from miles_router.core.log_ring import LogRing
from miles_router.log import make_log
from miles_router.memory import settle_memory
from miles_router.tui import mishaps
from miles_router.tui.bridge import Requests, TrioThread
from miles_router.tui.descriptors import LogStream
from miles_router.tui.host import place_for, run_local
from miles_router.tui.local_source import LocalSource
from miles_router.tui.source import EVENTS_KEPT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from structlog.typing import FilteringBoundLogger

    from miles_router.config import Settings
    from miles_router.core.events import Event
    from miles_router.core.log_ring import LogLine
    from miles_router.core.snapshot import Snapshot
    from miles_router.net.services import Services
    from miles_router.tui.app import RouterTui
    from miles_router.tui.look import Look
    from miles_router.tui.mishaps import Mishap
    from miles_router.tui.terminal import Terminal
    from miles_router.web.replies import App

    Beside = Callable[[str], Awaitable[None]]

# Until screens ask for more or fewer.
SNAPSHOT_RATE_HZ = 5.0


class Embedded:
    """A router that serves, and the source of screens for it. Made in the router's thread.

    `needs_token`: whoever adds a worker to it over HTTP has to show a token.
    """

    def __init__(
        self,
        thread: TrioThread[Embedded],
        services: Services,
        app: App,
        *,
        is_read_only: bool,
        may_load: trio.Event,
    ) -> None:
        self._thread = thread
        self._services = services
        self._may_load = may_load
        settings = services.settings
        keys = list(settings.tenants_by_key)
        self.source = LocalSource(
            services.url,
            readers=Readings(thread, services),
            call=thread.call,
            app=app,
            token=settings.admin_token or (keys[0] if keys else None),
            is_read_only=is_read_only,
        )
        self.source.rate_hz = SNAPSHOT_RATE_HZ
        self.needs_token = settings.admin_token is not None or bool(keys)

    def outlook(self) -> str:
        """What the router still waits for when it is told to stop."""
        running = len(self._services.inflight) + self._services.own_calls
        if not running:
            return "stopping"
        grace_s = self._services.settings.shutdown_grace_s
        work = counted(running, "running request")
        return f"stopping; {work} may take up to {grace_s:g} s, Ctrl-C cuts them now"

    def log_mishap(self, mishap: Mishap) -> bool:
        """Write a line about it into the router's log; False where that has ended."""
        if mishap.error is None:
            write = partial(self._services.log.warning, mishap.what, text=mishap.text)
        else:
            write = partial(
                self._services.log.error, mishap.what, thread=mishap.text, exc_info=mishap.error
            )
        return self._thread.tell(write)

    def shown(self) -> None:
        """Load what the first screen did without."""
        self._thread.tell(self._may_load.set)

    def unwatched(self) -> None:
        """Take no more snapshots."""
        self._thread.tell(self._services.want_snapshots, 0.0)


class Readings:
    """What can be read of the router from another thread at any moment."""

    def __init__(self, thread: TrioThread[Embedded], services: Services) -> None:
        """In the router's thread."""
        self._thread = thread
        self._services = services
        self._ring = services.log_ring
        self._heard = deque(services.events.since(0), maxlen=EVENTS_KEPT)
        services.events.subscribe(self._heard.append)
        self._events: list[Event] = []
        self._lines: list[LogLine] = []

    def latest(self) -> Snapshot | None:
        """The newest snapshot."""
        return self._services.latest

    def events(self) -> Sequence[Event]:
        """The newest events, oldest first; the same list until there is another one.

        A copy of a deque is one step of the interpreter; an iteration over it would not be.
        """
        heard = list(self._heard)
        if heard[-1:] != self._events[-1:]:
            self._events = heard
        return self._events

    def log_lines(self) -> Sequence[LogLine]:
        """The newest log lines, oldest first; the same list until there is another one."""
        if not self._lines or self._lines[-1].seq != self._ring.last_seq:
            self._lines = self._ring.since(0)
        return self._lines

    def focus(self, worker_id: str | None) -> None:
        """Ask that snapshots list the oldest requests of this worker."""
        self._thread.tell(setattr, self._services, "focus", worker_id)

    def is_running(self) -> bool:
        """Whether the router has not ended."""
        return self._thread.is_running

    def want(self, rate_hz: float) -> None:
        """Ask for so many snapshots a second; the router makes at most ten."""
        self._thread.tell(self._services.want_snapshots, rate_hz)


def embedded_router(
    settings: Settings, *, is_read_only: bool, beside: Beside | None = None
) -> TrioThread[Embedded]:
    """A thread that runs a router; `start` it, and it serves.

    Its log goes to standard error, wherever that leads when a line is written.
    """
    ring = LogRing()
    with redirect_stderr(LogStream()):
        log = make_log(settings.log_format, settings.log_level, ring=ring)
    router_app.raise_descriptor_limit(log)
    work = _Work(settings, log, ring, is_read_only, beside)
    work.thread = TrioThread(work.run)
    return work.thread


class _Work:
    """What the thread does: the router, and what runs beside it until that is told to stop."""

    thread: TrioThread[Embedded]

    def __init__(
        self,
        settings: Settings,
        log: FilteringBoundLogger,
        ring: LogRing,
        is_read_only: bool,
        beside: Beside | None,
    ) -> None:
        self._settings = settings
        self._log = log
        self._ring = ring
        self._is_read_only = is_read_only
        self._beside = beside

    async def run(self, requests: Requests[Embedded]) -> None:
        company = trio.CancelScope()
        may_load = trio.Event()
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:

            async def keep_company(url: str) -> None:
                with company:
                    if self._beside is not None:
                        await self._beside(url)

            def ready(services: Services, app: App) -> None:
                router = Embedded(
                    self.thread,
                    services,
                    app,
                    is_read_only=self._is_read_only,
                    may_load=may_load,
                )
                requests.ready(router)
                nursery.start_soon(keep_company, services.url)

            async def next_stop() -> str:
                why = await anext(requests.stops)
                company.cancel()
                return why

            async def load_late(load: Callable[[], Awaitable[None]]) -> None:
                await may_load.wait()
                await load()
                settle_memory()

            try:
                await router_app.run_router(
                    self._settings,
                    self._log,
                    log_ring=self._ring,
                    next_stop=next_stop,
                    on_ready=ready,
                    load_late=load_late,
                )
            except Exception as error:  # noqa: BLE001  raised below, without a group around it
                failure = error
            company.cancel()
        if failure is not None:
            raise failure


def run_with_screens(
    settings: Settings, terminal: Terminal, look: Look, *, beside: Beside | None = None
) -> int:
    """Run a router with its screens on `terminal` until they, or a signal, end it; the exit code.

    Args:
        settings: of the router.
        terminal: for the screens.
        look: how they look, and what happens when they fail.
        beside: runs in the router's thread, from when that serves until it is told to stop; gets
            its URL.

    Raises:
        ConfigFault: the settings cannot be used on this machine; no screen was shown.
    """
    place = place_for(terminal, look.log_file, f"tui-{settings.port}")
    if settings.has_token_cache:
        place.say(f"loading the tokenizer {settings.tokenizer} and the token cache")
    thread = embedded_router(settings, is_read_only=look.is_read_only, beside=beside)
    with mishaps.caught() as caught:

        def make_app(router: Embedded) -> RouterTui:
            caught.pass_to(router.log_mishap)
            return look.app_for(router.source, needs_token=router.needs_token)

        return run_local(thread, make_app, place, on_crash=look.on_crash)
