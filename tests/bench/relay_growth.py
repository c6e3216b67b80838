"""Whether a request costs the same among few and among many workers and client connections.

The two routers take turns, half a second each: on a shared machine what a request costs changes by
half within seconds. So their medians are compared, and their quickest turns.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tests.bench.load import Load, saturate
from tests.bench.measuring import show, spread
from tests.bench.routed import answer, fixed_workers, running_router, small_requests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.routed import Router

CONNECTIONS = 64
TURNS = 4  # in a round
WORKERS = (2, 256)
IDLE = (1, 4096)


def measure(scratch: Path, rounds: int, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        routers = {}
        for count in WORKERS:
            workers = stack.enter_context(
                fixed_workers(scratch, [answer(16)], "--workers", str(count))
            )
            routers[count] = stack.enter_context(running_router(scratch, workers))
        found["workers"] = _in_turn(routers, rounds, seconds)
    with ExitStack() as stack:
        workers = stack.enter_context(fixed_workers(scratch, [answer(16)], "--workers", "2"))
        routers = {}
        for count in IDLE:
            routers[count] = stack.enter_context(running_router(scratch, workers))
            stack.enter_context(_idle(routers[count], count))
        found["idle_connections"] = _in_turn(routers, rounds, seconds)
    _report(found)
    return found


def _in_turn(routers: dict[int, Router], rounds: int, seconds: float) -> dict[int, list[float]]:
    """CPU microseconds per request of each router, one value a turn."""
    found: dict[int, list[float]] = {count: [] for count in routers}
    for number in range(-1, rounds * TURNS):  # the first one warms up
        for count, router in routers.items() if number % 2 else reversed(routers.items()):
            cpu = router.cpu_s
            requests = small_requests()
            got = saturate(
                router.address, requests, connections=CONNECTIONS, seconds=seconds / TURNS
            )
            if number >= 0:
                found[count].append((router.cpu_s - cpu) / got.count * 1e6)
    return found


@contextmanager
def _idle(router: Router, count: int) -> Iterator[None]:
    """So many connections on each of which a request was answered, and that stay open."""
    load, requests = Load(), small_requests()
    for _ in range(count):
        load.connect(router.address).ask(next(requests), time.monotonic())
        while not list(load.answered()):
            pass
    try:
        yield
        assert not list(load.answered(time.monotonic())), "all of them stayed open"
    finally:
        load.close()


def _report(found: dict[str, dict[int, list[float]]]) -> None:
    for kind, what in (("workers", "workers"), ("idle_connections", "idle connections")):
        few, many = found[kind].values()
        counts = list(found[kind])
        ratio = statistics.median(many) / statistics.median(few)
        told = f"{ratio:.2f} x, quickest {min(many) / min(few):.2f} x"
        name = f"CPU per request, {counts[0]} -> {counts[1]} {what}"
        show(name, told, "0.85-1.15 x")
        for count in counts:
            show(f"  with {count}", spread(found[kind][count], "us"))
