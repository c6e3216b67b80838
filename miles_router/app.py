"""The running router: one trio loop, one main nursery, from the first listener to the last byte.

Listener, health checks, drain deadlines and the watchdog run side by side in the nursery. A broken
listener ends the process with its traceback; broken background tasks are restarted (`tasks`).
Shutdown: stop accepting, let requests finish up to the grace period, end the rest, go.

`main` is a process of its own, which signals end. `run_router` is the same life for whoever hosts
it, in whatever thread: it touches no signal, no collector and no limit of the process.
"""

from __future__ import annotations

import errno
import resource
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from miles_router import __version__
from miles_router.assemble import add_configured_workers, assemble
from miles_router.core.log_ring import LogRing
from miles_router.errors import ConfigFault, ShuttingDown
from miles_router.log import make_log
from miles_router.memory import settle_memory
from miles_router.net.express import Express
from miles_router.net.ingress import Ingress
from miles_router.net.server_config import BACKLOG
from miles_router.tasks import cache_gc, drain, health, publish, quick_thread, watchdog
from miles_router.tasks.supervise import supervise
from miles_router.web.build import build_app, planner_of
from miles_router.web.own_routes import OwnRoutes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from miles_router.config import Settings
    from miles_router.net.late import Late
    from miles_router.net.services import Services
    from miles_router.web.replies import App

    LoadLate = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]

# Requests that were told to end get this long to do so, with their aborts on the way.
CUT_GRACE_S = 2.0
# One client and one worker connection per request in flight.
WANTED_DESCRIPTORS = 65_536
# What runs beside the requests, by its name in the log.
TASKS = {
    "health": health.run,
    "drain": drain.run,
    "watchdog": watchdog.run,
    "cache_gc": cache_gc.run,
    "quick_thread": quick_thread.run,
    "publish": publish.run,
}


def main(settings: Settings) -> int:
    """Run a router until a signal ends it; returns the exit code.

    Raises:
        ConfigFault: the settings cannot be used on this machine.
    """
    ring = LogRing()
    log = make_log(settings.log_format, settings.log_level, ring=ring)
    raise_descriptor_limit(log)
    trio.run(_run_until_signals, settings, log, ring)
    return 0


async def _run_until_signals(settings: Settings, log: FilteringBoundLogger, ring: LogRing) -> None:
    """The router of this process. Signals are caught from the first moment on."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

        async def next_signal() -> str:
            return signal.Signals(await anext(signals)).name

        await run_router(
            settings,
            log,
            log_ring=ring,
            next_stop=next_signal,
            on_ready=lambda _services, _app: settle_memory(),
        )


async def run_router(
    settings: Settings,
    log: FilteringBoundLogger,
    *,
    log_ring: LogRing,
    next_stop: Callable[[], Awaitable[str]],
    on_ready: Callable[[Services, App], None] = lambda _services, _app: None,
    load_late: LoadLate | None = None,
) -> None:
    """Run a router until it is told to stop.

    Args:
        settings: of the router.
        log: where it logs.
        log_ring: where `log` keeps its newest lines (see `make_log`).
        next_stop: waits until somebody wants the router to stop, and says who. The first time ends
            it gently; it is called again then, and the second time, or the end of the grace period,
            ends it hard.
        on_ready: called once, in the trio thread, as soon as connections are accepted, with the
            router's parts (`url` is set) and the whole router as an ASGI app. What it raises ends
            the router.
        load_late: without it all is loaded before connections are accepted. With it the router's
            own routes and Hypercorn, which relaying does without, are loaded when something of them
            is asked for, or when this says so: it runs beside the router, and gets what loads them.

    Raises:
        ConfigFault: the settings cannot be used on this machine.
        ExceptionGroup: a part failed that nothing works without.
    """
    listeners = await _listen(settings)
    try:
        await _live(listeners, settings, log, log_ring, next_stop, on_ready, load_late)
    except BaseExceptionGroup as group:
        faults, others = group.split(ConfigFault)
        if faults is None or others is not None:
            raise
        fault: BaseException = faults
        while isinstance(fault, BaseExceptionGroup):
            fault = fault.exceptions[0]
        raise fault from None
    finally:
        for listener in listeners:  # those of a router that failed before it served
            listener.socket.close()


async def _live(
    listeners: list[trio.SocketListener],
    settings: Settings,
    log: FilteringBoundLogger,
    log_ring: LogRing,
    next_stop: Callable[[], Awaitable[str]],
    on_ready: Callable[[Services, App], None],
    load_late: LoadLate | None,
) -> None:
    async with trio.open_nursery() as nursery:
        services = assemble(settings, background=nursery, log=log, log_ring=log_ring)
        add_configured_workers(services)
        own_routes = OwnRoutes(services)
        app = build_app(services, own_routes)
        ingress = Ingress(app, metrics=services.metrics, log=log)
        planner = planner_of(services, app)
        if planner is not None:
            ingress.express = Express(services, planner, ingress.readiness)
        for name, task in TASKS.items():
            nursery.start_soon(supervise, services, name, task)
        if load_late is None:
            own_routes.quart.load()
            ingress.hypercorn.load()
        else:
            nursery.start_soon(load_late, partial(_load, own_routes.quart, ingress.hypercorn))
        await nursery.start(ingress.run, listeners)
        urls = [_url_of(listener) for listener in listeners]
        services.url = urls[0]
        on_ready(services, app)
        for url in urls:
            log.info("listening", url=url, version=__version__)
        await _shut_down_when_told(services, ingress, next_stop)
        await _leave(ingress, nursery)
    services.idle.close_all()
    if services.token_cache is not None:
        services.token_cache.close()
    log.info("stopped")


async def _load(*parts: Late[Any]) -> None:
    """In a thread: the router serves meanwhile."""
    for part in parts:
        await part.get()


async def _listen(settings: Settings) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(settings.port, host=settings.host, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            reason = "the port is taken by another process: stop it, or choose another --port"
        raise ConfigFault(
            f"cannot listen on {settings.host}:{settings.port}: {reason}", key="port"
        ) from None


def _url_of(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _shut_down_when_told(
    services: Services, ingress: Ingress, next_stop: Callable[[], Awaitable[str]]
) -> None:
    """Wait for a stop, then end gently; a second stop, or the end of the grace, ends it hard.

    On return no request runs, or those that do have been told to end.
    """
    name = await next_stop()
    grace_s = services.settings.shutdown_grace_s
    services.is_stopping = True
    services.log.info(
        "shutting_down",
        signal=name,
        running=len(services.inflight) + services.own_calls,
        grace_s=grace_s,
    )
    await ingress.stop_accepting()
    async with trio.open_nursery() as nursery:

        async def hurry() -> None:
            await next_stop()
            services.log.warning("shutting_down_now")
            nursery.cancel_scope.cancel()

        nursery.start_soon(hurry)
        nursery.cancel_scope.deadline = trio.current_time() + grace_s
        await _wait_while(lambda: len(services.inflight) + services.own_calls)
        nursery.cancel_scope.cancel()
    for running in services.inflight.of_tenant(None):
        running.stop(ShuttingDown("the router is shutting down", retry_after_s=5.0))
    with trio.move_on_after(CUT_GRACE_S):
        await _wait_while(lambda: len(services.inflight))


async def _wait_while(running: Callable[[], int]) -> None:
    while running():  # noqa: ASYNC110  an event per request would burden each
        await trio.sleep(0.02)


async def _leave(ingress: Ingress, nursery: trio.Nursery) -> None:
    """End everything that still runs; connections whose client reads nothing are reset."""
    with trio.move_on_after(1.0):  # answers that are complete leave the process
        while ingress.busy:  # noqa: ASYNC110  once in a life
            await trio.sleep(0.02)
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await trio.sleep(0.05)
        ingress.reset_all()


def raise_descriptor_limit(log: FilteringBoundLogger) -> None:
    """Take as many descriptors as the system gives without being asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(WANTED_DESCRIPTORS, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("descriptor_limit", limit=soft, why=str(error))
