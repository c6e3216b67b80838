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
        self.counted: set[Worker] = set()  # a failed request counted since their last probe
        rig.events.subscribe(self.hear)

    def hear(self, event: Event) -> None:
        if event.kind == "weight_version":
            return
        assert event.worker_id is not None
        if event.kind == "first_probe_failed":
            assert self.told[event.worker_id] == "joining"
            assert self.rig.workers[event.worker_id].failures_in_row == 1
            return
        assert event.to_state is not None
        assert event.reason
        assert event.from_state == self.told.get(event.worker_id)
        if event.from_state == event.to_state:  # the one news that is no step
            assert event.to_state == "quarantined"
            assert self.rig.workers[event.worker_id].is_held
        self.told[event.worker_id] = event.to_state
        if event.to_state == "removed":
            del self.told[event.worker_id]
        if event.to_state == "active" and event.from_state != "suspect":
            self.check_weights(self.rig.workers[event.worker_id])
        if event.from_state in ROUTABLE and event.to_state not in ROUTABLE:
            self.check_stale_are_asked()

    def check_stale_are_asked(self) -> None:
        """When nobody serves any more, what is stale may be the newest there is."""
        workers = self.rig.workers.values()
        if not any(worker.is_routable for worker in workers):
            stale = [worker for worker in workers if worker.state is State.STALE]
            assert all(worker.next_probe_at <= self.rig.now for worker in stale)

    def check_weights(self, worker: Worker) -> None:
        """Who starts to serve has the newest weights, or an operator's word, or no rival."""
        newest = self.rig.pool.versions.newest
        assert (
            newest is None
            or worker.weight_version == newest
            or worker.id == self.released_by_hand
            or not self.rig.pool.others_serve(worker)
        )

    def went_back(self, worker: Worker, version: str | None) -> bool:
        arrived, known = self.rig.pool.versions.arrived, worker.weight_version
        both = version in arrived and known in arrived
        return both and arrived.index(version or "") < arrived.index(known or "")

    def keeps_serving(self, worker: Worker, version: str | None) -> bool:
        """Whether a serving worker whose next good probe names `version` serves on."""
        arrived = self.rig.pool.versions.arrived
        if version == worker.weight_version or not arrived or version == arrived[-1]:
            return True
        if worker.state is State.ACTIVE:
            return version == worker.probed_version or not self.went_back(worker, version)
        is_new = version is not None and version not in arrived
        return is_new and not self.rig.pool.others_serve(worker)

    def believes(self, worker: Worker, version: str) -> bool:
        """Whether the version in an answer of `worker` says something about it."""
        unsure = worker.state is State.SUSPECT and version != self.rig.pool.versions.newest
        return not unsure and not self.went_back(worker, version)

    def check_obeyed(self, worker: Worker, command: str) -> None:
        """What an operator's command leaves behind, beside the step of the table."""
        if command == "quarantine":
            assert worker.is_held
            told = self.rig.newest_event()
            assert (told.worker_id, told.reason) == (worker.id, "by an operator")
        elif command == "release" and worker.is_routable and worker.weight_version is not None:
            serves_alone = not self.rig.pool.others_serve(worker)
            newest = self.rig.pool.versions.newest
            assert worker.weight_version == newest or not serves_alone

    def picture(self, worker: Worker) -> list[object]:
        """All that a refused command must leave as it was."""
        of_worker = [getattr(worker, name) for name in type(worker).__slots__]
        index = [dict(tier.least._level_of) for tier in self.rig.admission._tiers.values()]
        return [
            *of_worker,
            *index,
            self.rig.events.last_seq,
            len(self.leases),
            list(self.waiting),
        ]

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
