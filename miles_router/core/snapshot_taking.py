"""Takes the snapshot of a router: reads its parts, changes nothing.

Taken many times a second while somebody looks, so whatever does not change is not made anew, and
what nobody asks for (events, the requests of one worker) is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from miles_router.core.cache_view import view_cache
from miles_router.core.lifecycle import ROUTABLE, State
from miles_router.core.request import RELAYED_CLASSES
from miles_router.core.snapshot import (
    FocusView,
    ProbeView,
    RequestView,
    Snapshot,
    Totals,
    WorkerView,
)
from miles_router.core.worker import ProbeOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.core.admission import Admission
    from miles_router.core.affinity import AffinityTable
    from miles_router.core.cache_view import CacheParts
    from miles_router.core.events import EventLog
    from miles_router.core.inflight import InflightTable, Running
    from miles_router.core.log_ring import LogRing
    from miles_router.core.metrics import Metrics
    from miles_router.core.pool import Pool
    from miles_router.core.worker import ProbeReport, Worker

# Stragglers are found among the oldest; more would make the snapshot of a busy router large.
SHOWN_REQUESTS = 100
SHOWN_EVENTS = 200
# Looked up for every worker of every snapshot, where an enum's `value` is slow.
_STATES = {state: (state.value, state in ROUTABLE) for state in State}
_OUTCOMES = {outcome: outcome.value for outcome in ProbeOutcome}


def view_worker(
    worker: Worker, *, newest: str | None, now: float, total_inflight: int = 0
) -> WorkerView:
    """How `worker` is shown among `total_inflight` requests on all workers."""
    deadline = worker.drain_deadline
    p50_s, p99_s = worker.latencies.quantiles
    status, is_healthy = _STATES[worker.state]
    return WorkerView(  # by position: by name it takes 1 us more
        worker.id,
        worker.url,
        status,
        is_healthy,
        worker.inflight,  # load
        worker.inflight,
        worker.weight_version,
        worker.weight_version == newest,  # is_newest_version
        worker.model_path,
        worker.served,
        worker.errors,
        worker.failures_in_row,
        worker.passes_in_row,
        None if worker.last_probe is None else _view_probe(worker.last_probe, now),
        _rounded(now - worker.since),  # since_s
        worker.reason,
        worker.is_held,
        worker.is_leaving,
        None if deadline is None else round(deadline - now, 3),  # drain_deadline_s
        worker.spec.worker_type,
        dict(worker.spec.labels),
        p50_s,  # latency_p50_s
        p99_s,  # latency_p99_s
        worker.inflight / total_inflight if total_inflight else 0.0,  # load_share
    )


def _rounded(seconds: float) -> float:
    """An age to milliseconds, in half the time that `round` takes."""
    return int(seconds * 1000.0 + 0.5) / 1000.0


def _view_probe(report: ProbeReport, now: float) -> ProbeView:
    return ProbeView(
        outcome=_OUTCOMES[report.outcome],
        age_s=_rounded(now - report.finished_at),
        duration_s=int((report.finished_at - report.started_at) * 1e4 + 0.5) / 1e4,
        detail=report.detail,
    )


def view_workers(pool: Pool, now: float) -> tuple[WorkerView, ...]:
    """All workers in order of registration."""
    newest, total = pool.versions.newest, pool.admission.inflight
    return tuple(
        view_worker(worker, newest=newest, now=now, total_inflight=total)
        for worker in pool.workers.values()
    )


def _state_of(running: Running) -> str:
    if running.is_aborted or running.is_stopped:
        return "aborting"
    if running.worker is None:
        return "queued" if running.is_stoppable else "reading"
    return "answering" if running.bytes_out else "generating"


def _view_requests(running: Iterable[Running], now: float) -> tuple[RequestView, ...]:
    return tuple(
        RequestView(
            request_id=one.request_id,
            rids=one.rids,
            tenant=one.tenant,
            path=one.path,
            age_s=_rounded(now - one.started_at),
            worker_id=None if one.worker is None else one.worker.id,
            bytes_out=one.bytes_out,
            state=_state_of(one),
        )
        for one in running
    )


def _total(pool: Pool, admission: Admission, metrics: Metrics, sessions: int) -> Totals:
    responses: dict[str, int] = {}
    relayed = 0
    for (path_class, status), count in metrics.requests.items():
        responses[str(status)] = responses.get(str(status), 0) + count
        if path_class in RELAYED_CLASSES:
            relayed += count
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
        loop_lag_p99_s=metrics.recent_lag.quantiles[1],
        overhead_p50_s=metrics.overhead.quantile(0.5),
        overhead_p99_s=metrics.overhead.quantile(0.99),
        relayed=relayed,
        queue_size=admission.queue_size,
    )


class Parts(Protocol):
    """What a snapshot is taken of."""

    pool: Pool
    admission: Admission
    inflight: InflightTable
    affinity: AffinityTable
    events: EventLog
    log_ring: LogRing
    metrics: Metrics
    boot_id: str
    url: str
    started_at: float
    is_stopping: bool

    @property
    def policy(self) -> str:
        """The name of the policy that chooses workers."""

    @property
    def shutdown_grace_s(self) -> float:
        """Seconds that running requests get when the router stops."""

    @property
    def token_cache(self) -> CacheParts | None:
        """None where there is none."""


def take_snapshot(
    parts: Parts,
    *,
    version: str,
    now: float,
    event_count: int = SHOWN_EVENTS,
    focus: str | None = None,
) -> Snapshot:
    """The router as it is at `now`.

    Args:
        parts: what it is made of.
        version: the product's.
        now: seconds, monotonic.
        event_count: so many of the newest events.
        focus: the id of a worker whose oldest requests are shown as well.
    """
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
        events=tuple(events.since(max(0, events.last_seq - event_count))) if event_count else (),
        last_event_seq=events.last_seq,
        url=parts.url,
        policy=parts.policy,
        log_seq=parts.log_ring.last_seq,
        focus=None if focus is None else _view_focus(parts, focus, now),
        shutdown_grace_s=parts.shutdown_grace_s,
    )


def _view_focus(parts: Parts, worker_id: str, now: float) -> FocusView:
    worker = parts.pool.workers.get(worker_id)
    running = () if worker is None else parts.inflight.oldest(SHOWN_REQUESTS, worker=worker)
    return FocusView(worker_id, _view_requests(running, now))
