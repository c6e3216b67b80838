"""Probes every worker on its own schedule; `core` decides what the results mean.

Probes run side by side, each with its own deadline and connections: one worker that hangs delays
nobody. The task sleeps until the next probe is due or the pool asks for one at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

from miles_router.net.probe import probe

if TYPE_CHECKING:
    from miles_router.core.worker import Worker
    from miles_router.net.services import Services

# Intervals vary by this share, so that a thousand workers added at once drift apart.
JITTER = 0.1


async def run(
    services: Services, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Probe for ever. Cancellation: probes under way leave no report."""
    wake = trio.Event()

    def probe_wanted() -> None:
        wake.set()

    services.pool.on_probe_wanted = probe_wanted
    async with trio.open_nursery() as nursery:
        task_status.started()
        while True:
            wake = trio.Event()
            now = trio.current_time()
            for worker in services.pool.due_probes(now):
                jitter = services.rng.uniform(-JITTER, JITTER)
                services.pool.begin_probe(worker, now, jitter=jitter)
                nursery.start_soon(_probe_one, services, worker)
            with trio.CancelScope(deadline=services.pool.next_probe_at()):
                await wake.wait()


async def _probe_one(services: Services, worker: Worker) -> None:
    settings = services.settings
    try:
        report = await probe(
            services.dialer,
            worker,
            health_path=settings.health_path,
            timeout_s=settings.health_timeout_s,
        )
    finally:
        services.pool.end_probe(worker)
    services.metrics.probes[report.outcome.value] += 1
    services.pool.note_probe(worker, report, trio.current_time())
    services.pool.on_probe_wanted()  # its next probe is on the schedule from here on
