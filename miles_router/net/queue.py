"""How one request waits for a worker, and what is said where none comes.

The decisions are `core.admission`'s. This file must not know attempts or answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from miles_router.core.admission import Ticket
from miles_router.core.inflight import nothing_to_stop
from miles_router.errors import NoWorker

if TYPE_CHECKING:
    from miles_router.core.admission import Lease
    from miles_router.core.affinity import SessionKey
    from miles_router.core.inflight import Running
    from miles_router.core.worker import Worker
    from miles_router.net.services import Services


class Queue:
    """The place of one request in the queue, at each of its attempts."""

    __slots__ = ("_running", "_scope", "_services", "_stopped", "asked_at")

    def __init__(self, services: Services, running: Running) -> None:
        self._services = services
        self._running = running
        self._stopped: Exception | None = None
        self._scope: trio.CancelScope | None = None
        self.asked_at = 0.0  # when the last wait began

    async def wait(self, session: SessionKey | None, tried: frozenset[str]) -> Lease:
        """A lease on a worker that was not tried, as soon as the queue grants one.

        Cancellation: the ticket is withdrawn, and a lease granted meanwhile is released.

        Raises:
            QueueFull, NoWorker: see `core.admission`.
            Exception: what `Running.stop` was called with.
        """
        services = self._services
        now = self.asked_at = self._services.now()
        ticket = Ticket(wake=self._wake, session=session, exclude=tried)
        try:
            services.admission.enqueue(ticket, now)
            if ticket.lease is None:
                await self._sleep(services.settings.queue_timeout_s)
            if self._stopped is not None:
                raise self._stopped
            if ticket.lease is None:
                raise self._no_worker(tried)
        except BaseException:
            services.admission.withdraw(ticket, self._services.now())
            raise
        services.metrics.queue_wait.add(ticket.lease.taken_at - now)
        return ticket.lease

    async def _sleep(self, timeout_s: float) -> None:
        """Return when a worker was found, when the wait was stopped, or after `timeout_s`."""
        self._running.stop = self._stop
        with trio.move_on_after(timeout_s) as self._scope:
            await trio.sleep_forever()
        self._running.stop = nothing_to_stop

    def _wake(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _stop(self, reason: Exception) -> None:
        self._stopped = reason
        self._wake()

    def serving(self, *, besides: frozenset[str]) -> list[Worker]:
        """The workers that serve requests now, full or not, without those that were tried."""
        listed = self._services.pool.listed
        return [worker for worker in listed if worker.is_routable and worker.id not in besides]

    def _no_worker(self, tried: frozenset[str]) -> NoWorker:
        services = self._services
        states = services.pool.states()
        shown = ", ".join(f"{count} {state}" for state, count in states.items()) or "no worker"
        if tried:
            shown += f"; {len(tried)} failed this request"
        if self.serving(besides=tried):
            who = "all others that serve" if tried else "all that serve"
            shown += f"; {who} are full (--max-inflight-per-worker, --max-inflight-total)"
        return NoWorker(
            f"no worker became available within {services.settings.queue_timeout_s:g} s "
            f"(--queue-timeout-s); the pool has {shown}",
            retry_after_s=services.settings.health_interval_s,
            states=states,
        )
