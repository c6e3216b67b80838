"""Makes the parts of a router from its settings. Starts nothing, connects to nothing."""

from __future__ import annotations

import random
import time
import uuid
from typing import TYPE_CHECKING

import trio

from miles_router.config import RADIX_TREE_MIDDLEWARE
from miles_router.config.checks import worker_urls
from miles_router.core.admission import Admission, AdmissionLimits
from miles_router.core.affinity import AffinityTable
from miles_router.core.events import Event, EventLog
from miles_router.core.health import HealthLimits
from miles_router.core.inflight import InflightTable
from miles_router.core.log_ring import LogRing
from miles_router.core.metrics import Metrics
from miles_router.core.pool import Pool
from miles_router.core.urlrules import AddressRules
from miles_router.core.worker import Worker, WorkerSpec
from miles_router.net.dial import Dialer
from miles_router.net.idle import IdleConnections
from miles_router.net.services import Services

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from miles_router.config import Settings
    from miles_router.net.token_cache import TokenCache


def assemble(
    settings: Settings,
    *,
    background: trio.Nursery,
    log: FilteringBoundLogger,
    log_ring: LogRing | None = None,
    rng: random.Random | None = None,
) -> Services:
    """The parts of one router, put together. Called inside the trio loop that will run it."""
    rng = rng or random.Random()  # noqa: S311  spreads load; guards nothing
    now = trio.current_time()
    events = EventLog(unix_offset_s=time.time() - now)  # noqa: TID251  events carry Unix time
    events.subscribe(lambda event: _log_event(log, event))
    workers: dict[str, Worker] = {}
    affinity = AffinityTable(ttl_s=settings.affinity_ttl_s, max_keys=settings.affinity_keys)
    admission = Admission(
        workers=workers,
        policy=settings.policy,
        limits=AdmissionLimits(
            queue_size=settings.queue_size,
            max_inflight_per_worker=settings.max_inflight_per_worker,
            max_inflight_total=settings.max_inflight_total,
            affinity_margin=settings.affinity_margin,
        ),
        affinity=affinity,
        rng=rng,
    )
    limits = HealthLimits(
        failures=settings.health_failures,
        successes=settings.health_successes,
        interval_s=settings.health_interval_s,
        timeout_s=settings.health_timeout_s,
    )
    rules = AddressRules.parse(settings.allow_workers)
    boot_id = uuid.uuid4().hex
    return Services(
        settings=settings,
        pool=Pool(workers=workers, admission=admission, events=events, limits=limits),
        admission=admission,
        affinity=affinity,
        inflight=InflightTable(),
        events=events,
        metrics=Metrics(),
        dialer=Dialer(rules, connect_timeout_s=settings.connect_timeout_s),
        idle=IdleConnections(),
        background=background,
        log=log,
        rng=rng,
        started_at=now,
        boot_id=boot_id,
        log_ring=LogRing() if log_ring is None else log_ring,
        token_cache=_token_cache(settings, events=events, log=log, boot_id=boot_id),
    )


def _token_cache(
    settings: Settings, *, events: EventLog, log: FilteringBoundLogger, boot_id: str
) -> TokenCache | None:
    if not settings.has_token_cache:
        return None
    if RADIX_TREE_MIDDLEWARE in settings.middleware:
        log.info("token_cache_named", middleware=RADIX_TREE_MIDDLEWARE, stands_for="--token-cache")
    # numpy and all that works on tokens come with it: 150 ms of CPU that others do not need.
    from miles_router.open_cache import open_cache  # noqa: PLC0415

    return open_cache(settings, events=events, log=log, boot_id=boot_id)


def add_configured_workers(services: Services) -> None:
    """Register the workers that the settings name; the first probe of each resolves its name.

    Raises:
        ConfigFault: a URL that can never be a worker.
    """
    for url in worker_urls(services.settings):
        addresses = () if url.address is None else (url.address,)
        services.pool.add(WorkerSpec(url=url, addresses=addresses), trio.current_time())


def _log_event(log: FilteringBoundLogger, event: Event) -> None:
    is_trouble = event.to_state in {"quarantined", "suspect", "stale"}
    write = log.warning if is_trouble or event.kind.endswith(("failed", "refused")) else log.info
    write(event.kind, message=event.message, worker=event.url, seq=event.seq)
