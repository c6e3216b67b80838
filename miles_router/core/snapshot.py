"""The state of the router as one immutable value: what `/workers` and `/snapshot` show.

Everything that displays the router reads this and nothing else. No secret is in it: keys of workers
and callers stay behind. Times are ages in seconds, so that a reader needs no clock of the router's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from miles_router.core.cache_view import CacheParts, CacheView, view_cache
from miles_router.core.events import Event  # noqa: TC001  msgspec reads the annotation
from miles_router.core.lifecycle import ROUTABLE, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.core.admission import Admission
    from miles_router.core.affinity import AffinityTable
    from miles_router.core.events import EventLog
    from miles_router.core.inflight import InflightTable, Running
    from miles_router.core.metrics import Metrics
    from miles_router.core.pool import Pool
    from miles_router.core.worker import ProbeReport, Worker

# Stragglers are found among the oldest; more would make the snapshot of a busy router large.
SHOWN_REQUESTS = 100
SHOWN_EVENTS = 200


class ProbeView(msgspec.Struct, frozen=True):
    """The last probe of a worker."""

    outcome: str
    age_s: float
    duration_s: float
    detail: str


class WorkerView(msgspec.Struct, frozen=True):
    """One worker. `load` repeats `inflight` under the name that gateway clients read."""

    id: str
    url: str
    status: str
    is_healthy: bool
    load: int
    inflight: int
    weight_version: str | None
    is_newest_version: bool
    model_path: str | None
    served: int
    errors: int
    failures_in_row: int
    passes_in_row: int
    last_probe: ProbeView | None
    since_s: float
    reason: str
    is_held: bool
    is_leaving: bool
    drain_deadline_s: float | None
    worker_type: str
    labels: dict[str, str]


class RequestView(msgspec.Struct, frozen=True):
    """One request the router holds."""

    request_id: str
    rids: tuple[str, ...]
    tenant: str
    path: str
    age_s: float
    worker_id: str | None
    bytes_out: int


class Totals(msgspec.Struct, frozen=True):
    """Sums over everything."""

    workers: int
    healthy_workers: int
    states: dict[str, int]
    inflight: int
    queued: int
    requests: int
    responses: dict[str, int]
    retries: int
    client_gone: int
    cut_answers: int
    bytes_in: int
    bytes_out: int
    sessions: int
    loop_lag_p99_s: float | None
    overhead_p50_s: float | None
    overhead_p99_s: float | None


class Snapshot(msgspec.Struct, frozen=True):
    """The whole router at one moment."""

    boot_id: str
    version: str
    uptime_s: float
    is_stopping: bool
    newest_weight_version: str | None
    weight_versions: tuple[str, ...]
    totals: Totals
    workers: tuple[WorkerView, ...]
    requests: tuple[RequestView, ...]
    token_cache: CacheView | None
    events: tuple[Event, ...]
    last_event_seq: int


def view_worker(worker: Worker, *, newest: str | None, now: float) -> WorkerView:
    """How `worker` is shown."""
    deadline = worker.drain_deadline
    return WorkerView(
        id=worker.id,
        url=worker.url,
        status=worker.state.value,
        is_healthy=worker.state in ROUTABLE,
        load=worker.inflight,
        inflight=worker.inflight,
        weight_version=worker.weight_version,
        is_newest_version=worker.weight_version == newest,
        model_path=worker.model_path,
        served=worker.served,
        errors=worker.errors,
        failures_in_row=worker.failures_in_row,
        passes_in_row=worker.passes_in_row,
        last_probe=None if worker.last_probe is None else _view_probe(worker.last_probe, now),
        since_s=round(now - worker.since, 3),
        reason=worker.reason,
        is_held=worker.is_held,
        is_leaving=worker.is_leaving,
        drain_deadline_s=None if deadline is None else round(deadline - now, 3),
        worker_type=worker.spec.worker_type,
        labels=dict(worker.spec.labels),
    )


def _view_probe(report: ProbeReport, now: float) -> ProbeView:
    return ProbeView(
        outcome=report.outcome.value,
        age_s=round(now - report.finished_at, 3),
        duration_s=round(report.finished_at - report.started_at, 4),
        detail=report.detail,
    )


def view_workers(pool: Pool, now: float) -> tuple[WorkerView, ...]:
    """All workers in order of registration."""
    newest = pool.versions.newest
    return tuple(view_worker(worker, newest=newest, now=now) for worker in pool.workers.values())


def _view_requests(running: Iterable[Running], now: float) -> tuple[RequestView, ...]:
    return tuple(
        RequestView(
            request_id=one.request_id,
            rids=one.rids,
            tenant=one.tenant,
            path=one.path,
            age_s=round(now - one.started_at, 3),
            worker_id=None if one.worker is None else one.worker.id,
            bytes_out=one.bytes_out,
        )
        for one in running
    )


def _total(pool: Pool, admission: Admission, metrics: Metrics, sessions: int) -> Totals:
    responses: dict[str, int] = {}
    for (_, status), count in metrics.requests.items():
        responses[str(status)] = responses.get(str(status), 0) + count
    return Totals(
        workers=len(pool.workers),
        healthy_workers=pool.count(State.ACTIVE, State.SUSPECT),
        states=pool.states(),
        inflight=admission.inflight,
        queued=admission.queued,
        requests=sum(metrics.requests.values()),
        responses=responses,
        retries=sum(metrics.retries.values()),
        client_gone=sum(metrics.client_gone.values()),
        cut_answers=sum(metrics.cut_answers.values()),
        bytes_in=metrics.bytes_in,
        bytes_out=metrics.bytes_out,
        sessions=sessions,
        loop_lag_p99_s=metrics.loop_lag.quantile(0.99),
        overhead_p50_s=metrics.overhead.quantile(0.5),
        overhead_p99_s=metrics.overhead.quantile(0.99),
    )


class Parts(Protocol):
    """What a snapshot is taken of."""

    pool: Pool
    admission: Admission
    inflight: InflightTable
    affinity: AffinityTable
    events: EventLog
    metrics: Metrics
    boot_id: str
    started_at: float
    is_stopping: bool

    @property
    def token_cache(self) -> CacheParts | None:
        """None where there is none."""


def take_snapshot(parts: Parts, *, version: str, now: float) -> Snapshot:
    """The router as it is at `now`; `version` is the product's."""
    pool, events, cache = parts.pool, parts.events, parts.token_cache
    return Snapshot(
        boot_id=parts.boot_id,
        version=version,
        uptime_s=round(now - parts.started_at, 3),
        is_stopping=parts.is_stopping,
        newest_weight_version=pool.versions.newest,
        weight_versions=pool.versions.arrived[-20:],
        totals=_total(pool, parts.admission, parts.metrics, len(parts.affinity)),
        workers=view_workers(pool, now),
        requests=_view_requests(parts.inflight.oldest(SHOWN_REQUESTS), now),
        token_cache=None if cache is None else view_cache(cache, now),
        events=tuple(events.since(max(0, events.last_seq - SHOWN_EVENTS))),
        last_event_seq=events.last_seq,
    )
