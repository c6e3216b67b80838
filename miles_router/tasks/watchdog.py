"""Measures how late the loop runs, and closes connections that stood idle for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

if TYPE_CHECKING:
    from miles_router.net.services import Services

INTERVAL_S = 0.1
SWEEP_EVERY = 10  # intervals
# The start of a router, and of screens beside it, holds the loop: that tells nothing about later.
SETTLED_AFTER_S = 5.0


async def run(
    services: Services, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Watch for ever. Lag is how much later than asked a sleep ends."""
    task_status.started()
    metrics = services.metrics
    settled_at = trio.current_time() + SETTLED_AFTER_S
    while True:
        for _ in range(SWEEP_EVERY):
            asked_at = trio.current_time()
            await trio.sleep(INTERVAL_S)
            lag_s = max(0.0, trio.current_time() - asked_at - INTERVAL_S)
            metrics.loop_lag.add(lag_s)
            if asked_at >= settled_at:
                metrics.recent_lag.add(lag_s)
        services.idle.sweep()
