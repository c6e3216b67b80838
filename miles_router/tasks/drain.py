"""Ends what still runs on a draining worker when its deadline has passed.

A generation that has not answered yet is tried elsewhere; an answer under way is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

from miles_router.core.counted import counted
from miles_router.errors import WorkerBroke

if TYPE_CHECKING:
    from miles_router.net.services import Services

# Deadlines are given in seconds by people; a quarter is close enough.
CHECK_INTERVAL_S = 0.25


async def run(
    services: Services, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Watch drain deadlines for ever."""
    task_status.started()
    while True:
        await trio.sleep(CHECK_INTERVAL_S)
        now = trio.current_time()
        for worker in services.pool.due_drains(now):
            worker.drain_deadline = None
            running = services.inflight.of_worker(worker)
            held = counted(len(running), "request")
            services.events.add(
                "drain_deadline",
                f"{worker.url}: the drain deadline passed with {held} running",
                now,
                worker_id=worker.id,
                url=worker.url,
            )
            for one in running:
                one.stop(WorkerBroke(f"{worker.url}: its drain deadline passed"))
