"""The state of the router as one immutable value: what `/workers` and `/snapshot` show.

Everything that displays the router reads this and nothing else. No secret is in it: keys of workers
and callers stay behind. Times are ages in seconds, so that a reader needs no clock of the router's.
How it is taken is in `snapshot_taking`. Fields with a default are ones that older routers do not
send.
"""

from __future__ import annotations

import msgspec

from miles_router.core.cache_view import CacheView  # noqa: TC001  msgspec reads the annotation
from miles_router.core.events import Event  # noqa: TC001  msgspec reads the annotation


class ProbeView(msgspec.Struct, frozen=True):
    """The last probe of a worker."""

    outcome: str
    age_s: float
    duration_s: float
    detail: str


class WorkerView(msgspec.Struct, frozen=True):
    """One worker. `load` repeats `inflight` under the name that gateway clients read.

    Latencies are of its newest 100 answered requests, from their lease to the last byte;
    `load_share` (0 to 1) is its part of all requests in flight.
    """

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
    latency_p50_s: float | None = None
    latency_p99_s: float | None = None
    load_share: float = 0.0


class RequestView(msgspec.Struct, frozen=True):
    """One request the router holds.

    `state`: `reading` (its body is still coming in), `queued` (it waits for a worker), `generating`
    (no byte of an answer came yet), `answering`, or `aborting` (its caller gave it up, and it is
    not over yet).
    """

    request_id: str
    rids: tuple[str, ...]
    tenant: str
    path: str
    age_s: float
    worker_id: str | None
    bytes_out: int
    state: str = "queued"


class FocusView(msgspec.Struct, frozen=True):
    """The oldest requests on the one worker that somebody looks at."""

    worker_id: str
    requests: tuple[RequestView, ...]


class Totals(msgspec.Struct, frozen=True):
    """Sums over everything.

    `queued` requests wait for a worker, at most `queue_size`. `requests` and `responses` (by
    status) are all that were answered, polls of screens among them; `relayed` are those that were
    meant for workers, refused ones among them. The lag of the loop is that of the last two minutes.
    None is what is not known.
    """

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
    relayed: int | None = None
    queue_size: int | None = None

    @property
    def is_queue_full(self) -> bool:
        """Whether the next request that no worker has room for is refused."""
        return self.queue_size is not None and 0 < self.queue_size <= self.queued


class Snapshot(msgspec.Struct, frozen=True):
    """The whole router at one moment. `url` is where it listens; empty before it does.

    `shutdown_grace_s`: what running requests get when it stops; None where that is not known.
    """

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
    url: str = ""
    policy: str = ""
    log_seq: int = 0
    focus: FocusView | None = None
    shutdown_grace_s: float | None = None
