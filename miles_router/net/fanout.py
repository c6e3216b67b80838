"""One call to many workers at once: engine control, aborts, cache flushes, metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from miles_router.errors import WorkerFault
from miles_router.net.call import Call, Reply, call_worker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.core.worker import Worker
    from miles_router.net.dial import Dialer


@dataclass(frozen=True, slots=True)
class WorkerReply:
    """What one worker said, or why it said nothing."""

    worker: Worker
    reply: Reply | None
    fault: WorkerFault | None

    @property
    def is_success(self) -> bool:
        """A 2xx answer."""
        return self.reply is not None and 200 <= self.reply.status < 300


async def fan_out(
    dialer: Dialer, calls: Iterable[tuple[Worker, Call]], *, timeout_s: float | None
) -> list[WorkerReply]:
    """Make all calls at once; each has its own deadline and fails alone. Order is kept."""
    calls = list(calls)
    results: list[WorkerReply | None] = [None] * len(calls)

    async def ask(index: int, worker: Worker, call: Call) -> None:
        try:
            reply = await call_worker(dialer, worker, call, timeout_s=timeout_s)
        except WorkerFault as fault:
            results[index] = WorkerReply(worker, None, fault)
        else:
            results[index] = WorkerReply(worker, reply, None)

    async with trio.open_nursery() as nursery:
        for index, (worker, call) in enumerate(calls):
            nursery.start_soon(ask, index, worker, call)
    return [result for result in results if result is not None]
