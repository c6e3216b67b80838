"""Thousands of generations in flight at once, as in the first seconds of a rollout and after."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.bench.load import Load, saturate, waves
from tests.bench.measuring import Quiet, quantile, resident_bytes, show
from tests.bench.routed import (
    Router,
    answer,
    fixed_workers,
    running_router,
    small_requests,
)

if TYPE_CHECKING:
    from pathlib import Path

GENERATIONS = 4096
DELAY_S = 5.0
ROUNDS = 3
LOOKS_HZ = 2.0
# The router's own lag is of no interest before it has settled (`tasks.watchdog`).
SETTLED_AFTER_S = 6.0


def measure(scratch: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Steady: they begin one after the other, as generations of different lengths do. Burst: all
    at once; then all are answered at once, and ask again."""
    found: dict[str, Any] = {}
    options = ("--workers", "8", "--delay-s", str(DELAY_S))
    with fixed_workers(scratch, [answer(16)], *options) as workers:
        for name, over_s in (("steady", DELAY_S), ("burst", 0.0)):
            with running_router(scratch, workers) as router:
                time.sleep(SETTLED_AFTER_S)
                quiet = Quiet([router.pid, workers.pid])
                found[name] = _one(router, over_s)
                found[name]["foreign_share"] = quiet.foreign_share()
            _report(name, found[name])
    return found


def _one(router: Router, over_s: float) -> dict[str, Any]:
    load, seconds = Load(), DELAY_S * ROUNDS + over_s
    saturate(router.address, small_requests(), connections=16, seconds=0.0)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as beside:
        beside.submit(abs, 0).result()  # it has started
        idle_bytes, cpu, lags = router.resident_bytes, router.cpu_s, router.lags()
        watched = beside.submit(watch, router.pid, router.address[1], seconds)
        got = waves(
            load,
            router.address,
            small_requests(),
            connections=GENERATIONS,
            rounds=ROUNDS,
            over_s=over_s,
        )
        cpu = router.cpu_s - cpu
        looks, most_inflight, peak_bytes = watched.result()
    # Before the connections are closed: 4,096 clients that leave at once are another matter.
    later = router.lags()
    snapshot_lag_s = router.snapshot()["totals"]["loop_lag_p99_s"]
    load.close()
    return {
        "answered": got.count,
        "asked": GENERATIONS * ROUNDS,
        "most_inflight": most_inflight,
        "bytes_each": (peak_bytes - idle_bytes) / GENERATIONS,
        "idle_mb": idle_bytes / 1e6,
        "lag_p99_s": snapshot_lag_s,
        "lag_counts": {bound: later[bound] - lags[bound] for bound in lags},
        "snapshot_p50_s": quantile(looks, 0.5),
        "snapshot_worst_s": max(looks),
        "over_delay_p50_s": quantile(got.times, 0.5) - DELAY_S,
        "over_delay_worst_s": max(got.times) - DELAY_S,
        "cpu_us": cpu / got.count * 1e6,
    }


def watch(pid: int, port: int, seconds: float) -> tuple[list[float], int, int]:
    """Seconds that each look took, the most requests in flight, and the most memory (bytes).

    In a process of its own, so that the load does not count as the router's time. A look counts
    while most generations are in flight; in the burst before, each waits its turn.
    """
    router, looks, most, peak = Router(pid, port), [], 0, 0
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        inflight = router.snapshot()["totals"]["inflight"]
        most, peak = max(most, inflight), max(peak, resident_bytes(pid))
        looks.append(time.monotonic() - began)
        time.sleep(1 / LOOKS_HZ)
    return looks, most, peak


def _report(name: str, found: dict[str, Any]) -> None:
    kind = "one after the other" if name == "steady" else "all at once, again and again"
    print(f"{GENERATIONS} generations of {DELAY_S:g} s at a time, {ROUNDS} rounds, {kind}")
    show("  answered", f"{found['answered']} of {found['asked']}", "all")
    show("  most in flight at once", f"{found['most_inflight']}")
    show("  resident memory each", f"{found['bytes_each'] / 1024:.1f} KB", "<= 48 KB")
    show("    the router without them", f"{found['idle_mb']:.0f} MB")
    lag = f"{found['lag_p99_s'] * 1e3:.1f} ms"
    show("  lag of the event loop, p99", lag, "<= 20 ms")
    counts = found["lag_counts"]
    total = counts[float("inf")]
    within = f"{counts[0.02]} of {total}, {counts[0.05]} within 50 ms"
    show("    times that it was late by 20 ms at most", within)
    show("  /snapshot meanwhile, median", f"{found['snapshot_p50_s'] * 1e3:.1f} ms", "<= 50 ms")
    show("    slowest", f"{found['snapshot_worst_s'] * 1e3:.1f} ms")
    late = f"{found['over_delay_p50_s'] * 1e3:.1f} ms, {found['over_delay_worst_s'] * 1e3:.0f} ms"
    show("  answers later than the workers slept, median and most", late)
    show("  CPU per request", f"{found['cpu_us']:.0f} us")
    foreign = f"{found['foreign_share'] * 100:.0f} %"
    show("  of the machine, taken by others meanwhile", foreign)
