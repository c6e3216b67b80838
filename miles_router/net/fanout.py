"""One call to many workers at once: engine control, aborts, cache flushes, metrics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from miles_router.errors import CannotDial, DialTimeout, WorkerFault, WorkerTimeout
from miles_router.net.call import Call, Reply, call_worker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.core.worker import Worker
    from miles_router.net.dial import Dialer

# An abort of thousands of requests must not cost a worker, or the router, as many connections.
CALLS_PER_WORKER = 16


@dataclass(frozen=True, slots=True)
class WorkerReply:
    """What one worker said, or why it said nothing."""

    worker: Worker
    reply: Reply | None
    fault: WorkerFault | CannotDial | None

    @property
    def is_success(self) -> bool:
        """A 2xx answer."""
        return self.reply is not None and 200 <= self.reply.status < 300


async def fan_out(
    dialer: Dialer, calls: Iterable[tuple[Worker, Call]], *, timeout_s: float | None
) -> list[WorkerReply]:
    """Make all calls; each has its own deadline and fails alone. Order is kept.

    All workers are asked at once, each over at most `CALLS_PER_WORKER` connections. A worker that
    let a call time out is not asked the rest of its calls: they fail in the same way, at once.
    """
    calls = list(calls)
    results: list[WorkerReply | None] = [None] * len(calls)
    waiting: dict[Worker, deque[int]] = {}
    for index, (worker, _call) in enumerate(calls):
        waiting.setdefault(worker, deque()).append(index)

    async def ask_in_turn(worker: Worker, indexes: deque[int]) -> None:
        while indexes:
            index = indexes.popleft()
            result = await _ask(dialer, worker, calls[index][1], timeout_s)
            results[index] = result
            if isinstance(result.fault, DialTimeout | WorkerTimeout):
                while indexes:
                    results[indexes.popleft()] = result

    async with trio.open_nursery() as nursery:
        for worker, indexes in waiting.items():
            for _ in range(min(CALLS_PER_WORKER, len(indexes))):
                nursery.start_soon(ask_in_turn, worker, indexes)
    return [result for result in results if result is not None]


async def _ask(dialer: Dialer, worker: Worker, call: Call, timeout_s: float | None) -> WorkerReply:
    try:
        reply = await call_worker(dialer, worker, call, timeout_s=timeout_s)
    except (WorkerFault, CannotDial) as fault:
        return WorkerReply(worker, None, fault)
    return WorkerReply(worker, reply, None)
