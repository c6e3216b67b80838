"""Probes every worker on its own schedule; `core` decides what the results mean.

Probes run side by side, each with its own deadline and connections: one worker that hangs delays
nobody, and one whose answer breaks the probe breaks only its own. The task sleeps until the next
probe is due or the pool asks for one at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

from miles_router.core.worker import ProbeOutcome, ProbeReport
from miles_router.errors import CannotDial
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
    try:
        report = await _ask(services, worker)
    finally:
        services.pool.end_probe(worker)
    if report is None:
        services.metrics.probes["not_sent"] += 1
    else:
        services.metrics.probes[report.outcome.value] += 1
        services.pool.note_probe(worker, report, trio.current_time())
    services.pool.on_probe_wanted()  # its next probe is on the schedule from here on


async def _ask(services: Services, worker: Worker) -> ProbeReport | None:
    """One probe's report; None where the router itself could not ask, which counts neither way."""
    settings = services.settings
    started_at = trio.current_time()
    try:
        return await probe(
            services.dialer,
            worker,
            health_path=settings.health_path,
            timeout_s=settings.health_timeout_s,
        )
    except CannotDial as error:
        services.log.warning("probe_not_sent", worker=worker.url, why=error.message)
        return None
    except Exception as error:
        # Nobody foresaw what this worker answers: without this, it would end the probes of all.
        services.log.exception("probe_failed", worker=worker.url)
        return ProbeReport(
            outcome=ProbeOutcome.BROKEN,
            started_at=started_at,
            finished_at=trio.current_time(),
            detail=f"its probe raised {type(error).__name__}; the router's log has the traceback",
        )
