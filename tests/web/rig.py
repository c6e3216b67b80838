"""A whole router without its listener, and simulated workers behind it."""

from __future__ import annotations

import io
import random
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
import trio

from miles_router.assemble import assemble
from miles_router.config import Settings
from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import ProbeOutcome, ProbeReport, Worker, WorkerSpec
from miles_router.net.ingress import Ingress
from miles_router.sim import RunningSim, SimSettings, running_sim
from miles_router.web.build import build_app
from miles_router.web.own_routes import OwnRoutes
from tests.web.asgi_client import NEAR, AsgiClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from structlog.typing import FilteringBoundLogger

    from miles_router.core.log_ring import LogRing
    from miles_router.net.services import Services
    from miles_router.web.replies import App

ADMIN = "admin-token-1234567890"
# About a minute of generating: long enough to be caught in the act.
SLOW = SimSettings(tokens_per_s=50.0)
LONG = {"text": "a", "sampling_params": {"max_new_tokens": 3000, "ignore_eos": True}}
SHORT = {"text": "a", "sampling_params": {"max_new_tokens": 3, "ignore_eos": True}}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def until(holds: Callable[[], object]) -> None:
    """Return as soon as `holds()` is true."""
    with trio.fail_after(5):
        while not holds():  # noqa: ASYNC110  what is waited for tells nobody
            await trio.sleep(0.005)


@dataclass
class Rig:
    services: Services
    app: App
    nursery: trio.Nursery
    client: AsgiClient

    def as_caller(self, secret: str | None, *, address: str = NEAR[0]) -> AsgiClient:
        headers = {} if secret is None else bearer(secret)
        return AsgiClient(self.app, headers=headers, address=(address, 40000))

    def add(self, url: str, **spec: Any) -> Worker:
        """A worker that has been registered and not probed."""
        parsed = parse_worker_url(url)
        addresses = () if parsed.address is None else (parsed.address,)
        return self.services.pool.add(
            WorkerSpec(parsed, addresses=addresses, **spec), trio.current_time()
        )

    def passes(self, worker: Worker, version: str | None = None) -> None:
        """`worker` passes a probe."""
        now = trio.current_time()
        report = ProbeReport(ProbeOutcome.PASSED, now, now, weight_version=version)
        self.services.pool.note_probe(worker, report, now)

    def join(self, url: str, **spec: Any) -> Worker:
        """An active worker."""
        worker = self.add(url, **spec)
        self.passes(worker)
        return worker

    async def until_inflight(self, worker: Worker, count: int) -> None:
        await until(lambda: worker.inflight == count)

    async def until_queued(self, count: int) -> None:
        await until(lambda: self.services.admission.queued == count)

    async def listen(self) -> int:
        """Serve on a real port; returns it."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        ingress = Ingress(self.app, metrics=self.services.metrics, log=self.services.log)
        await self.nursery.start(ingress.run, listeners)
        port: int = listeners[0].socket.getsockname()[1]
        return port


def quiet_log() -> FilteringBoundLogger:
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(io.StringIO()),
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
    )
    return log


def loaded_app(services: Services) -> App:
    """The whole router, with its own routes: clocks of tests do not wait for a thread."""
    own_routes = OwnRoutes(services)
    own_routes.quart.load()
    return build_app(services, own_routes)


@asynccontextmanager
async def open_router(
    *,
    log: FilteringBoundLogger | None = None,
    log_ring: LogRing | None = None,
    within_s: float = 30,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """A router with these settings; its background tasks (health, drain, watchdog) do not run."""
    with trio.fail_after(within_s):
        async with trio.open_nursery() as nursery:
            services = assemble(
                Settings(port=0, **settings),
                background=nursery,
                log=log or quiet_log(),
                log_ring=log_ring,
                rng=random.Random(0),
            )
            app = loaded_app(services)
            try:
                yield Rig(services, app, nursery, AsgiClient(app))
            finally:
                services.idle.close_all()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_sims(
    count: int, settings: SimSettings | None = None
) -> AsyncIterator[list[RunningSim]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_sim(settings)) for _ in range(count)]
