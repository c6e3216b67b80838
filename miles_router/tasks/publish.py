"""Keeps the newest snapshot where screens in this process find it, while there are any.

A screen pulls `services.latest` whenever it likes, from its own thread: nothing is queued, so one
that hangs costs nothing. A pool so large that its snapshot takes long is shown less often.
"""

from __future__ import annotations

from time import thread_time
from typing import TYPE_CHECKING, NoReturn

import trio

from miles_router import __version__
from miles_router.core.snapshot_taking import take_snapshot

if TYPE_CHECKING:
    from miles_router.net.services import Services

MAX_RATE_HZ = 10.0
# Snapshots take at most a twentieth of the loop's time.
PAUSE_PER_COST = 20.0


async def run(
    services: Services, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Publish for ever; sleep while nobody wants it. Events are left out: they are read by seq."""
    task_status.started()
    taken_at = cost_s = 0.0
    while True:
        await _wait_due(services, taken_at, cost_s)
        taken_at = trio.current_time()
        # The time of this thread: what a screen's thread takes meanwhile is none of the cost.
        began = thread_time()
        services.latest = take_snapshot(
            services, version=__version__, now=taken_at, event_count=0, focus=services.focus
        )
        cost_s = thread_time() - began


async def _wait_due(services: Services, taken_at: float, cost_s: float) -> None:
    """Return when the next snapshot is due, by the rate that is wanted then."""
    while True:
        wake = trio.Event()
        services.on_snapshots_wanted = wake.set
        rate_hz = min(services.snapshot_rate_hz, MAX_RATE_HZ)
        due = float("inf")
        if rate_hz > 0:
            due = taken_at + max(1.0 / rate_hz, PAUSE_PER_COST * cost_s)
        with trio.CancelScope(deadline=due) as scope:
            await wake.wait()
        if scope.cancelled_caught:
            return
