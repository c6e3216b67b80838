"""Snapshots of pools that look like real ones: all values follow from their arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

from miles_router.core.cache_view import CacheView, NamespaceView
from miles_router.core.events import Event
from miles_router.core.log_ring import LogLine
from miles_router.core.snapshot import (
    FocusView,
    ProbeView,
    RequestView,
    Snapshot,
    Totals,
    WorkerView,
)

URL = "http://127.0.0.1:30000"
BOOT_S = 1_786_000_000.0  # Unix time at which these routers started
UPTIME_S = 11_530.0


@dataclass(frozen=True)
class Trouble:
    """What is wrong with some workers of a pool."""

    status: str
    reason: str = ""
    failures: int = 0
    version: str = "128"
    inflight: int | None = None


# By the number of the worker in the pool.
TROUBLES = {
    3: Trouble("quarantined", "5 failures in a row: connect timed out", failures=5, inflight=0),
    5: Trouble("stale", "has weights 127, the pool has 128", version="127", inflight=0),
    6: Trouble("draining", "drained by an operator", inflight=4),
    9: Trouble("joining", "", inflight=0),
    11: Trouble("suspect", "probe failed: HTTP 503", failures=2),
}


def load(index: int, step: int) -> int:
    """Requests in flight of worker `index` at `step`: slow waves, different for each."""
    return max(0, round(24 + 18 * math.sin(step / 9 + index * 1.7) + index % 5))


def worker(index: int, step: int, trouble: Trouble | None = None) -> WorkerView:
    inflight = load(index, step)
    if trouble is not None and trouble.inflight is not None:
        inflight = trouble.inflight
    status = "active" if trouble is None else trouble.status
    failures = 0 if trouble is None else trouble.failures
    is_bad = failures > 0
    return WorkerView(
        id=f"w-{index:04x}{(index * 7919) % 65521:04x}",
        url=f"http://10.0.{index // 14}.{10 + index % 14}:30000",
        status=status,
        is_healthy=status in {"active", "suspect"},
        load=inflight,
        inflight=inflight,
        weight_version=None if status == "joining" else "128" if not trouble else trouble.version,
        is_newest_version=status != "joining" and (trouble is None or trouble.version == "128"),
        model_path="Qwen/Qwen3-30B-A3B",
        served=0 if status == "joining" else 30_000 + 977 * index + step * (4 + index % 3),
        errors=41 if failures >= 5 else 2 if is_bad else 0,
        failures_in_row=failures,
        passes_in_row=0 if is_bad else 380,
        last_probe=ProbeView(
            outcome="passed" if not is_bad else "unreachable" if failures >= 5 else "unhealthy",
            age_s=round(0.4 + (index * 0.37 + step * 0.2) % 5, 3),
            duration_s=0.0042 if not is_bad else 2.0,
            detail="" if not is_bad else "connect timed out after 2 s",
        ),
        since_s=UPTIME_S + step * 0.2 if trouble is None else 42.0 + step * 0.2,
        reason="" if trouble is None else trouble.reason,
        is_held=False,
        is_leaving=status == "draining",
        drain_deadline_s=598.0 if status == "draining" else None,
        worker_type="regular",
        labels={},
        latency_p50_s=None if status == "joining" else 0.4 + 0.021 * (index % 17),
        latency_p99_s=None if status == "joining" else 1.7 + 0.093 * (index % 17),
        load_share=0.0,
    )


def request(index: int, worker_id: str | None, age_s: float) -> RequestView:
    return RequestView(
        request_id=f"req-{index:06d}",
        rids=(f"rollout-{index // 8:04d}-{index % 8}",),
        tenant="default" if index % 3 else "team-b",
        path="/generate" if index % 2 else "/v1/chat/completions",
        age_s=round(age_s, 3),
        worker_id=worker_id,
        bytes_out=0 if index % 4 == 0 else 977 * index,
        state="queued" if worker_id is None else "generating" if index % 4 == 0 else "answering",
    )


def cache(step: int) -> CacheView:
    return CacheView(
        is_on=True,
        tokenizer="Qwen/Qwen3-30B-A3B",
        trajectories=1_411,
        turns=9_877 + step,
        tokens=38_200_000 + 900 * step,
        size_bytes=2_147_483_648 + 7_777 * step,
        budget_bytes=4_294_967_296,
        r3_size_bytes=7_945_689_497,
        r3_budget_bytes=17_179_869_184,
        prompts={"continued": 7_340 + step, "tokenized": 2_660},
        cached_tokens=31_500_000,
        stored=9_877 + step,
        refused={"no_logprobs": 12, "too_large": 3},
        removed={"budget": 812, "age": 96},
        r3={"stored": 1_411, "misaligned": 2},
        r3_received_bytes=9_123_456_789,
        r3_removed={"budget": 7},
        reads={"exact": 4_120, "missing": 9},
        failures=0,
        journal="on",
        journal_size_bytes=734_003_200,
        journal_failures=0,
        sweeps=230,
        last_sweep_age_s=7.4 + step * 0.2,
        last_sweep_removed=61,
        namespaces={
            "default": NamespaceView(1_204, 8_400, 33_000_000, 1_900_000_000),
            "team-b": NamespaceView(207, 1_477, 5_200_000, 247_483_648),
        },
    )


def events(workers: tuple[WorkerView, ...]) -> tuple[Event, ...]:
    """A history with something of everything; none for an empty pool."""
    start = BOOT_S + UPTIME_S - 90
    rows: list[tuple[float, str, str, str | None, str | None, str | None]] = [
        (0, "router_started", f"serving on {URL}", None, None, None)
    ]
    if len(workers) > 6:
        w3, w5, w6 = workers[3], workers[5], workers[6]
        rows += [
            (12, "worker_added", f"{w5.url} added", w5.id, None, "joining"),
            (24, "weight_version", "weights 128 arrived", None, None, None),
            (36, "probe_failed", f"{w3.url}: connect timed out after 2 s", w3.id, None, None),
            (48, "state", f"{w3.url} is quarantined", w3.id, "suspect", "quarantined"),
            (60, "state", f"{w6.url} is draining: 4 in flight", w6.id, "active", "draining"),
            (72, "sweep", "61 trajectories removed by the garbage collection", None, None, None),
        ]
    return tuple(
        Event(
            seq=seq,
            time_s=start + after,
            kind=kind,
            message=message,
            worker_id=worker_id,
            url=next((one.url for one in workers if one.id == worker_id), None),
            from_state=from_state,
            to_state=to_state,
        )
        for seq, (after, kind, message, worker_id, from_state, to_state) in enumerate(rows, 1)
    )


def log_lines() -> tuple[LogLine, ...]:
    start = BOOT_S + UPTIME_S - 90
    rows = [
        ("info", f"serving url={URL} policy=cache_aware"),
        ("info", "worker added url=http://10.0.0.15:30000"),
        ("warning", "probe failed worker=w-00035ced detail='connect timed out after 2 s'"),
        ("error", "journal is slow: a write took 2.1 s path=/var/lib/miles/journal"),
        ("info", "sweep removed=61 took_s=0.0031"),
    ]
    return tuple(
        LogLine(seq=seq, time_s=start + 7 * seq, level=level, text=text)
        for seq, (level, text) in enumerate(rows, 1)
    )


def picture(
    count: int = 14,
    *,
    step: int = 0,
    troubled: bool = False,
    focus: str | None = None,
    boot_id: str = "boot-1",
    has_cache: bool = True,
) -> Snapshot:
    """A pool of `count` workers at `step` fifths of a second."""
    workers = tuple(
        worker(index, step, TROUBLES.get(index) if troubled else None) for index in range(count)
    )
    inflight = sum(one.inflight for one in workers)
    workers = tuple(
        msgspec.structs.replace(one, load_share=one.inflight / max(1, inflight)) for one in workers
    )
    serving = [one.id for one in workers if one.is_healthy]
    running = [one.id for one in workers if one.inflight]
    requests = tuple(
        request(index, running[index % len(running)], 61.5 * 0.93**index + step * 0.2)
        for index in range(40 if running else 0)
    )
    states: dict[str, int] = {}
    for one in workers:
        states[one.status] = states.get(one.status, 0) + 1
    totals = Totals(
        workers=count,
        healthy_workers=len(serving),
        states=states,
        inflight=inflight,
        queued=3 if troubled else 0,
        queue_size=512,
        requests=sum(one.served for one in workers),
        responses={"200": 400_000, "503": 43} if workers else {},
        retries=17 if troubled else 0,
        client_gone=5 if workers else 0,
        cut_answers=0,
        bytes_in=12_000_000 * count,
        bytes_out=912_000_000 * count + 250_000 * step,
        sessions=1_411 if workers else 0,
        loop_lag_p99_s=0.0031,
        overhead_p50_s=0.00021,
        overhead_p99_s=0.0019,
    )
    own = tuple(one for one in requests if one.worker_id == focus)
    return Snapshot(
        boot_id=boot_id,
        version="0.4.0",
        uptime_s=UPTIME_S + step * 0.2,
        is_stopping=False,
        newest_weight_version="128" if workers else None,
        weight_versions=("126", "127", "128") if workers else (),
        totals=totals,
        workers=workers,
        requests=requests,
        token_cache=cache(step) if has_cache else None,
        events=(),
        last_event_seq=7,
        url=URL,
        policy="cache_aware",
        log_seq=5,
        shutdown_grace_s=30.0,
        focus=None if focus is None else FocusView(worker_id=focus, requests=own),
    )
