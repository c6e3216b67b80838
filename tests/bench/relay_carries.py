"""What one process carries: answers a second, bytes of routed experts, streamed tokens."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from tests.bench.load import arrive, saturate
from tests.bench.measuring import show, spread
from tests.bench.routed import answer, fixed_workers, piece, running_router, small_requests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.load import Answers
    from tests.bench.routed import Router

SMALL_CONNECTIONS = 64
LARGE_CONNECTIONS = 2
LARGE_TOKENS = 8192
EXPERT_BYTES = 48 * 1024**2  # of an answer; 4/3 of it in base64
CHUNKS = 64
GAP_S = 0.02
STREAMS_HZ = 60.0
# An example to scale from: a worker with 256 generations at 32 tokens/s each.
MEAN_TOKENS = 1024
WORKER_TOKENS_HZ = 256 * 32
"""A worker's tokens per second, all its generations together."""


def measure(scratch: Path, rounds: int, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    two = ("--workers", "2")
    large = answer(LARGE_TOKENS, EXPERT_BYTES)
    for name, answers, options in (
        ("small", [answer(16)], two),
        ("large", [large], two),
        ("chunks", [piece()], (*two, "--chunks", str(CHUNKS), "--gap-s", str(GAP_S))),
    ):
        with (
            fixed_workers(scratch, answers, *options) as workers,
            running_router(scratch, workers) as router,
        ):
            found[name] = list(_rounds(name, router, rounds, seconds))
    _report(found, len(large))
    return found


def _rounds(name: str, router: Router, rounds: int, seconds: float) -> Iterator[dict[str, float]]:
    for number in range(-1, rounds):  # the first one warms up
        cpu = router.cpu_s
        got = _load(name, router, seconds, number)
        cpu = router.cpu_s - cpu
        if number >= 0:
            each = {"hz": got.hz, "cpu_s": cpu / got.count, "cpu_share": cpu / got.took_s}
            yield {**each, "bytes_hz": got.size_bytes / got.took_s}


def _load(name: str, router: Router, seconds: float, number: int) -> Answers:
    if name == "chunks":
        ask = small_requests(stream=True)
        return arrive([router.address], ask, hz=STREAMS_HZ, seconds=seconds, seed=number)
    connections = SMALL_CONNECTIONS if name == "small" else LARGE_CONNECTIONS
    requests = small_requests()
    return saturate(router.address, requests, connections=connections, seconds=seconds)


def _report(found: dict[str, list[dict[str, float]]], large_bytes: int) -> None:
    def values(name: str, what: str, scale: float = 1.0) -> list[float]:
        return [one[what] * scale for one in found[name]]

    print("What one process carries")
    show(
        f"  answers of 16 tokens, {SMALL_CONNECTIONS} connections",
        spread(values("small", "hz"), "/s"),
    )
    show("    CPU of each", spread(values("small", "cpu_s", 1e6), "us"))
    size = f"{large_bytes / 1e6:.0f} MB"
    show(
        f"  answers of {size} with routed experts",
        spread(values("large", "bytes_hz", 1e-6), "MB/s"),
    )
    show("    CPU of a MB", spread(values("large", "cpu_s", 1e12 / large_bytes), "us"))
    show("  CPU of a streamed chunk", spread(values("chunks", "cpu_s", 1e6 / CHUNKS), "us"))
    print("From that, for one core")
    hz = statistics.median(values("small", "hz"))
    finish_hz = WORKER_TOKENS_HZ / MEAN_TOKENS
    show(f"  workers that finish {finish_hz:g} answers/s each", f"{hz / finish_hz:.0f}")
    show(
        f"  tokens/s, not streamed, mean answer {MEAN_TOKENS}", f"{hz * MEAN_TOKENS / 1e6:.1f} M/s"
    )
    chunk_s = statistics.median(values("chunks", "cpu_s")) / CHUNKS
    show("  tokens/s, streamed one by one", f"{1 / chunk_s / 1e3:.1f} k/s")
    bytes_hz = statistics.median(values("large", "bytes_hz"))
    show("  routed experts, before base64", f"{bytes_hz * 0.75 / 1e6:.0f} MB/s")
    tokens_hz = bytes_hz / large_bytes * LARGE_TOKENS
    what = f"  tokens/s, each with {EXPERT_BYTES // LARGE_TOKENS} B of routed experts"
    show(what, f"{tokens_hz / 1e3:.0f} k/s")
