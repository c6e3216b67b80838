"""A pool with all its parts, driven by plain calls; time stands still unless a test moves it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from miles_router.core.admission import Admission, AdmissionLimits, Lease, Ticket
from miles_router.core.affinity import AffinityTable
from miles_router.core.events import Event, EventLog
from miles_router.core.health import HealthLimits
from miles_router.core.pool import Pool
from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import ProbeOutcome, ProbeReport, Worker, WorkerSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.core.affinity import SessionKey
    from miles_router.core.lifecycle import State

HEALTH = HealthLimits(failures=3, successes=2, interval_s=10.0)


def url(number: int) -> str:
    return f"http://10.0.{number // 256}.{number % 256}:8000"


def bare_worker(number: int, *, inflight: int = 0) -> Worker:
    """A worker that belongs to no pool."""
    spec = WorkerSpec(parse_worker_url(url(number)))
    return Worker(id=f"w{number}", spec=spec, added_at=0.0, inflight=inflight)


def state_of(worker: Worker) -> State:
    """The state as a call, which mypy does not narrow: it changes between two assertions."""
    return worker.state


def granted(*tickets: Ticket) -> list[bool]:
    return [ticket.lease is not None for ticket in tickets]


@dataclass
class Change:
    """The parts of an event that tell a change of state."""

    from_state: str | None
    to_state: str | None
    reason: str | None


class Rig:
    def __init__(
        self,
        *,
        policy: str = "least_inflight",
        limits: AdmissionLimits | None = None,
        health: HealthLimits = HEALTH,
        seed: int = 0,
        ttl_s: float = 3600.0,
    ) -> None:
        self.now = 100.0
        self.workers: dict[str, Worker] = {}
        self.affinity = AffinityTable(ttl_s=ttl_s, max_keys=1_000)
        self.events = EventLog()
        self.admission = Admission(
            workers=self.workers,
            policy=policy,
            limits=limits or AdmissionLimits(),
            affinity=self.affinity,
            rng=random.Random(seed),
        )
        self.pool = Pool(
            workers=self.workers, admission=self.admission, events=self.events, limits=health
        )

    # -- workers ----------------------------------------------------------------------------------

    def add(
        self,
        number: int,
        *,
        api_key: str | None = None,
        worker_type: str = "regular",
        lifts_hold: bool = True,
    ) -> Worker:
        spec = WorkerSpec(parse_worker_url(url(number)), api_key=api_key, worker_type=worker_type)
        return self.pool.add(spec, self.now, lifts_hold=lifts_hold)

    def joined(self, number: int, version: str | None = "1") -> Worker:
        """A new worker that was added and passed its first probe."""
        worker = self.add(number)
        self.passes(worker, version)
        return worker

    def passes(self, worker: Worker, version: str | None = "1", *, times: int = 1) -> None:
        for _ in range(times):
            self.reports(worker, ProbeOutcome.PASSED, version=version)

    def fails(
        self,
        worker: Worker,
        outcome: ProbeOutcome = ProbeOutcome.UNHEALTHY,
        *,
        times: int = 1,
    ) -> None:
        for _ in range(times):
            self.reports(worker, outcome)

    def reports(
        self,
        worker: Worker,
        outcome: ProbeOutcome,
        *,
        version: str | None = None,
        started_at: float | None = None,
    ) -> None:
        started_at = self.now if started_at is None else started_at
        report = ProbeReport(outcome, started_at, self.now, weight_version=version)
        self.pool.note_probe(worker, report, self.now)

    # -- requests ---------------------------------------------------------------------------------

    def ask(self, session: SessionKey | None = None, exclude: Iterable[Worker] = ()) -> Ticket:
        """Enqueue a request; its ticket has a lease if it was granted at once."""
        ticket = Ticket(
            wake=lambda: None, session=session, exclude=frozenset(w.id for w in exclude)
        )
        self.admission.enqueue(ticket, self.now)
        return ticket

    def lease(self, session: SessionKey | None = None, exclude: Iterable[Worker] = ()) -> Lease:
        """Enqueue a request that is granted at once."""
        ticket = self.ask(session, exclude)
        assert ticket.lease is not None
        return ticket.lease

    def load(self, worker: Worker, count: int) -> list[Lease]:
        """Put `count` requests on `worker`, which must be able to take them."""
        others = [other for other in self.workers.values() if other is not worker]
        return [self.lease(exclude=others) for _ in range(count)]

    # -- events -----------------------------------------------------------------------------------

    def changes(self, worker: Worker, *, after: int = 0) -> list[Change]:
        """The changes of state of `worker` that were told after event `after`."""
        return [
            Change(event.from_state, event.to_state, event.reason)
            for event in self.events.since(after)
            if event.worker_id == worker.id and event.to_state is not None
        ]

    def newest_event(self) -> Event:
        return self.events.since(self.events.last_seq - 1)[0]
