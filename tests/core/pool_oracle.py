"""What must be true of every event and every lease of a pool, checked as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core.lifecycle import ROUTABLE, State

if TYPE_CHECKING:
    from miles_router.core.admission import AdmissionLimits, Lease, Ticket
    from miles_router.core.events import Event
    from miles_router.core.worker import Worker
    from tests.core.rig import Rig


class PoolOracle:
    """Listens to one pool; a test names the operator's releases in `released_by_hand`."""

    def __init__(self, rig: Rig, limits: AdmissionLimits) -> None:
        self.rig = rig
        self.limits = limits
        self.told: dict[str, str] = {}  # the state of each worker as its events tell it
        self.waiting: list[Ticket] = []
        self.leases: list[Lease] = []
        self.released_by_hand = ""
        rig.events.subscribe(self.hear)

    def hear(self, event: Event) -> None:
        if event.kind == "weight_version":
            return
        assert event.worker_id is not None
        assert event.to_state is not None
        assert event.reason
        assert event.from_state == self.told.get(event.worker_id)
        assert event.from_state != event.to_state
        self.told[event.worker_id] = event.to_state
        if event.to_state == "removed":
            del self.told[event.worker_id]
        if event.to_state == "active" and event.from_state != "suspect":
            self.check_weights(self.rig.workers[event.worker_id])

    def check_weights(self, worker: Worker) -> None:
        """Who starts to serve has the newest weights, or an operator's word, or no rival."""
        newest = self.rig.pool.versions.newest
        assert (
            newest is None
            or worker.weight_version == newest
            or worker.id == self.released_by_hand
            or not self.rig.pool.others_serve(worker)
        )

    def is_available(self, worker: Worker, *, less: int = 0) -> bool:
        limit = self.limits.max_inflight_per_worker
        return worker.state in ROUTABLE and (limit is None or worker.inflight - less < limit)

    def woken(self, ticket: Ticket) -> None:
        """A lease was granted: was it right, with the pool as it was a moment before?"""
        assert ticket.lease is not None
        worker = ticket.lease.worker
        assert self.is_available(worker, less=1)
        assert worker.id not in ticket.exclude
        total = self.limits.max_inflight_total
        assert total is None or self.rig.admission.inflight <= total
        for earlier in self.waiting[: self.waiting.index(ticket)]:
            assert worker.id in earlier.exclude
        if worker.state is State.SUSPECT:
            actives = (w for w in self.rig.workers.values() if w.state is State.ACTIVE)
            assert all(w.id in ticket.exclude or not self.is_available(w) for w in actives)
        self.waiting.remove(ticket)
        self.leases.append(ticket.lease)
