"""Views of workers, requests and routers, with what a test does not care about filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from miles_router.core.cache_view import CacheView
from miles_router.core.snapshot import ProbeView, RequestView, Snapshot, Totals, WorkerView

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORKER = WorkerView(
    id="w0",
    url="http://10.0.0.1:30000",
    status="active",
    is_healthy=True,
    load=0,
    inflight=0,
    weight_version="128",
    is_newest_version=True,
    model_path="/models/tiny",
    served=0,
    errors=0,
    failures_in_row=0,
    passes_in_row=2,
    last_probe=ProbeView("passed", 3.2, 0.004, ""),
    since_s=61.0,
    reason="probe passed",
    is_held=False,
    is_leaving=False,
    drain_deadline_s=None,
    worker_type="regular",
    labels={},
)
_REQUEST = RequestView(
    request_id="req-1",
    rids=("rollout-1",),
    tenant="default",
    path="/generate",
    age_s=1.0,
    worker_id="w0",
    bytes_out=0,
    state="generating",
)
_TOTALS = Totals(
    workers=0,
    healthy_workers=0,
    states={},
    inflight=0,
    queued=0,
    requests=0,
    responses={},
    retries=0,
    client_gone=0,
    cut_answers=0,
    bytes_in=0,
    bytes_out=0,
    sessions=0,
    loop_lag_p99_s=0.001,
    overhead_p50_s=None,
    overhead_p99_s=None,
)
_SNAPSHOT = Snapshot(
    boot_id="boot-1",
    version="0",
    uptime_s=11_520.0,
    is_stopping=False,
    newest_weight_version="128",
    weight_versions=("128",),
    totals=_TOTALS,
    workers=(),
    requests=(),
    token_cache=None,
    events=(),
    last_event_seq=0,
    url="http://127.0.0.1:30000",
    policy="least_inflight",
)
_CACHE = CacheView(
    is_on=True,
    tokenizer="tiny",
    trajectories=10,
    turns=40,
    tokens=38_200_000,
    size_bytes=2 * 2**30,
    budget_bytes=4 * 2**30,
    r3_size_bytes=2**30,
    r3_budget_bytes=16 * 2**30,
    prompts={"continued": 70, "repeated": 3, "tokenized": 27},
    cached_tokens=31_500_000,
    stored=98,
    refused={"no_output_ids": 2, "unfinished": 12},
    removed={"evicted": 30, "deleted": 4},
    r3={"stored": 90},
    r3_received_bytes=5_000,
    r3_removed={},
    reads={"exact": 9},
    failures=0,
    journal="none",
    journal_size_bytes=0,
    journal_failures=0,
    sweeps=3,
    last_sweep_age_s=7.5,
    last_sweep_removed=61,
)


def a_worker(worker_id: str = "w0", **changes: Any) -> WorkerView:
    """A healthy worker; `inflight` also is its `load`."""
    if "inflight" in changes:
        changes.setdefault("load", changes["inflight"])
    return msgspec.structs.replace(_WORKER, id=worker_id, **changes)


def a_request(request_id: str = "req-1", **changes: Any) -> RequestView:
    """A request that runs on worker w0."""
    return msgspec.structs.replace(_REQUEST, request_id=request_id, **changes)


def a_cache(**changes: Any) -> CacheView:
    """A token cache that is half full."""
    return msgspec.structs.replace(_CACHE, **changes)


def a_snapshot(
    workers: Sequence[WorkerView] = (),
    requests: Sequence[RequestView] = (),
    *,
    totals: dict[str, Any] | None = None,
    **changes: Any,
) -> Snapshot:
    """A router with these workers; its totals follow from them unless they are given."""
    states: dict[str, int] = {}
    for worker in workers:
        states[worker.status] = states.get(worker.status, 0) + 1
    sums = {
        "workers": len(workers),
        "healthy_workers": sum(worker.is_healthy for worker in workers),
        "states": states,
        "inflight": sum(worker.inflight for worker in workers),
        "requests": sum(worker.served for worker in workers),
    }
    return msgspec.structs.replace(
        _SNAPSHOT,
        workers=tuple(workers),
        requests=tuple(requests),
        totals=msgspec.structs.replace(_TOTALS, **(sums | (totals or {}))),
        **changes,
    )
