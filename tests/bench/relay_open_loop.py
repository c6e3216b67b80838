"""What the router adds to requests that come when they come, well below what it could carry.

Slices of the same arrivals go to the workers themselves and through the router, in turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.bench.load import arrive
from tests.bench.measuring import quantile, show, spread
from tests.bench.routed import answer, fixed_workers, piece, running_router, small_requests

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.load import Answers

WORKERS = 8
REQUESTS_HZ = 300.0
# A router that has nothing to do between two chunks pays for each that its caches are cold.
STREAMS_HZ = 30.0
BUSY_STREAMS_HZ = 100.0
CHUNKS = 64
GAP_S = 0.02


def measure(scratch: Path, rounds: int, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    options: tuple[str, ...] = ("--workers", str(WORKERS))
    found["whole"] = _compare(scratch, rounds, seconds, REQUESTS_HZ, [answer(16)], options)
    options += ("--chunks", str(CHUNKS), "--gap-s", str(GAP_S))
    found["stream"] = _compare(scratch, rounds, seconds, STREAMS_HZ, [piece()], options)
    found["busy"] = _compare(scratch, rounds, seconds, BUSY_STREAMS_HZ, [piece()], options)
    _report(found)
    return found


def _compare(
    scratch: Path,
    rounds: int,
    seconds: float,
    hz: float,
    answers: list[bytes],
    options: tuple[str, ...],
) -> list[dict[str, float]]:
    """One value per round."""
    found = []
    ask = small_requests(stream=True) if "--chunks" in options else small_requests()
    with (
        fixed_workers(scratch, answers, *options) as workers,
        running_router(scratch, workers) as router,
    ):
        for number in range(-1, rounds):  # the first one warms up

            def load(addresses: list[tuple[str, int]], number: int = number) -> Answers:
                return arrive(addresses, ask, hz=hz, seconds=seconds, seed=number)

            straight = load(workers.addresses)
            cpu = router.cpu_s
            routed = load([router.address])
            cpu = router.cpu_s - cpu
            if number >= 0:
                found.append(_added(straight, routed, cpu))
    return found


def _added(straight: Answers, routed: Answers, cpu: float) -> dict[str, float]:
    assert straight.count == routed.count, "the same seed gives the same arrivals"
    values = {"cpu_us": cpu / routed.count * 1e6, "count": float(routed.count)}
    for name in ("times", "first_times"):
        for share in (0.5, 0.99):
            before, after = (quantile(getattr(one, name), share) for one in (straight, routed))
            values[f"{name}_p{share * 100:.0f}_straight_s"] = before
            values[f"{name}_p{share * 100:.0f}_added_s"] = after - before
    return values


def _report(found: dict[str, list[dict[str, float]]]) -> None:
    def row(what: str, kind: str, name: str, bound: str = "-") -> None:
        show(what, spread([one[name] * 1e3 for one in found[kind]], "ms"), bound)

    print(f"{REQUESTS_HZ:g} requests/s (Poisson) on {WORKERS} workers")
    row("  latency added, p50", "whole", "times_p50_added_s", "<= 0.6 ms")
    row("    of the workers themselves", "whole", "times_p50_straight_s")
    row("  latency added, p99", "whole", "times_p99_added_s", "<= 3 ms")
    row("    of the workers themselves", "whole", "times_p99_straight_s")
    show("  CPU per request", spread([one["cpu_us"] for one in found["whole"]], "us"))
    for kind, hz in (("stream", STREAMS_HZ), ("busy", BUSY_STREAMS_HZ)):
        print(f"{hz:g} streams/s of {CHUNKS} chunks, {GAP_S * 1e3:g} ms apart")
        row("  time to first token added, p50", kind, "first_times_p50_added_s", "<= 0.6 ms")
        row("    of the workers themselves", kind, "first_times_p50_straight_s")
        row("  time to first token added, p99", kind, "first_times_p99_added_s")
        per_chunk = [one["cpu_us"] / CHUNKS for one in found[kind]]
        show("  CPU per chunk, its share of the request in it", spread(per_chunk, "us"), "<= 60 us")
