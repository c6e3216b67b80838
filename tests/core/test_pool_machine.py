"""Everything that can happen to a pool, in any order, against a plain model of what must hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from miles_router.core.admission import AdmissionLimits, Lease, Ticket
from miles_router.core.lifecycle import LEAVING, ROUTABLE, TRANSITIONS, State, Trigger
from miles_router.core.policies import POLICIES
from miles_router.core.worker import ProbeOutcome, Worker
from miles_router.errors import (
    DialFailed,
    DialTimeout,
    IllegalTransition,
    QueueFull,
    WorkerBroke,
    WorkerFault,
    WorkerTimeout,
)
from tests.core.rig import Rig

if TYPE_CHECKING:
    from miles_router.core.events import Event

SLOTS = st.integers(1, 4)
PICKS = st.integers(0, 7)
VERSIONS = st.sampled_from(["1", "2", "3", None])
SESSIONS = st.sampled_from([None, ("t", "a"), ("t", "b")])
DEADLINES = st.sampled_from([None, 5.0])
COMMANDS = st.sampled_from(["quarantine", "release", "drain", "undrain", "remove"])
FAULTS = st.sampled_from(
    [DialFailed("refused"), DialTimeout("slow"), WorkerBroke("reset"), WorkerTimeout("silent")]
)
QUEUE_SIZE = 5


def may_take(worker: Worker, command: str) -> bool:
    """Whether the table has the step that `command` asks for."""
    row = TRANSITIONS[worker.state]
    if command == "remove" and worker.inflight:
        return worker.state is State.DRAINING or Trigger.DRAIN in row
    return Trigger(command) in row


class PoolMachine(RuleBasedStateMachine):
    rig: Rig

    @initialize(
        policy=st.sampled_from(sorted(POLICIES)),
        per_worker=st.sampled_from([None, 1, 2]),
        total=st.sampled_from([None, 3]),
        seed=st.integers(0, 99),
    )
    def build(self, policy: str, per_worker: int | None, total: int | None, seed: int) -> None:
        self.limits = AdmissionLimits(
            queue_size=QUEUE_SIZE,
            max_inflight_per_worker=per_worker,
            max_inflight_total=total,
            affinity_margin=1,
        )
        self.rig = Rig(policy=policy, limits=self.limits, seed=seed, ttl_s=30.0)
        self.rig.events.subscribe(self.hear)
        self.told: dict[str, str] = {}  # the state of each worker as its events tell it
        self.gone: list[Worker] = []
        self.waiting: list[Ticket] = []
        self.leases: list[Lease] = []
        self.released_by_hand = ""

    # -- what is heard ----------------------------------------------------------------------------

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

    # -- membership and commands ------------------------------------------------------------------

    @rule(slot=SLOTS)
    def add(self, slot: int) -> None:
        worker = self.rig.add(slot)
        assert worker.state not in LEAVING
        assert not worker.is_held

    @precondition(lambda self: self.rig.workers)
    @rule(pick=PICKS, command=COMMANDS, deadline_s=DEADLINES)
    def command(self, pick: int, command: str, deadline_s: float | None) -> None:
        self.give(self.pick(pick), command, deadline_s)

    @precondition(lambda self: self.gone)
    @rule(pick=PICKS, command=COMMANDS)
    def command_to_one_that_is_gone(self, pick: int, command: str) -> None:
        self.give(self.gone[pick % len(self.gone)], command, None)

    def pick(self, pick: int) -> Worker:
        workers = list(self.rig.workers.values())
        return workers[pick % len(workers)]

    def give(self, worker: Worker, command: str, deadline_s: float | None) -> None:
        options = {"deadline_s": deadline_s} if command in {"drain", "remove"} else {}
        order = getattr(self.rig.pool, command)
        if may_take(worker, command):
            self.released_by_hand = worker.id if command == "release" else ""
            order(worker, self.rig.now, **options)
            self.released_by_hand = ""
            return
        before = self.picture(worker)
        with pytest.raises(IllegalTransition):
            order(worker, self.rig.now, **options)
        assert self.picture(worker) == before

    def picture(self, worker: Worker) -> list[object]:
        of_worker = [getattr(worker, name) for name in Worker.__slots__]
        index = [dict(tier.least._level_of) for tier in self.rig.admission._tiers.values()]
        return [*of_worker, *index, self.rig.events.last_seq, len(self.leases), list(self.waiting)]

    # -- probes and faults ------------------------------------------------------------------------

    @precondition(lambda self: self.rig.workers)
    @rule(pick=PICKS, version=VERSIONS, times=st.integers(1, 2))
    def probe_passes(self, pick: int, version: str | None, times: int) -> None:
        worker = self.pick(pick)
        was_held = worker.is_held
        for _ in range(times):
            self.rig.passes(worker, version)
        assert not (was_held and worker.is_routable)

    @precondition(lambda self: self.rig.workers)
    @rule(
        pick=PICKS,
        outcome=st.sampled_from([o for o in ProbeOutcome if o is not ProbeOutcome.PASSED]),
        times=st.integers(1, 3),
    )
    def probe_fails(self, pick: int, outcome: ProbeOutcome, times: int) -> None:
        worker = self.pick(pick)
        others = [w for w in self.rig.workers.values() if w.is_routable and w is not worker]
        was_routable = worker.is_routable
        for _ in range(times):
            self.rig.fails(worker, outcome)
        if was_routable and not others and outcome is ProbeOutcome.UNHEALTHY:
            assert worker.is_routable

    @precondition(lambda self: self.rig.workers)
    @rule(pick=PICKS, fault=FAULTS)
    def request_fails(self, pick: int, fault: WorkerFault) -> None:
        worker = self.pick(pick)
        before = worker.state
        self.rig.pool.note_fault(worker, fault, self.rig.now)
        if isinstance(fault, WorkerTimeout):
            assert worker.state is before
        if isinstance(fault, DialFailed):
            assert not worker.is_routable

    @precondition(lambda self: self.gone)
    @rule(pick=PICKS, fault=FAULTS, version=VERSIONS)
    def late_news_of_one_that_is_gone(
        self, pick: int, fault: WorkerFault, version: str | None
    ) -> None:
        worker, seq = self.gone[pick % len(self.gone)], self.rig.events.last_seq
        self.rig.pool.note_fault(worker, fault, self.rig.now)
        self.rig.passes(worker, version)
        assert (worker.state, self.rig.events.last_seq) == (State.REMOVED, seq)

    @precondition(lambda self: self.leases)
    @rule(pick=PICKS, version=st.sampled_from(["1", "2", "3"]))
    def answer_names_a_version(self, pick: int, version: str) -> None:
        worker = self.leases[pick % len(self.leases)].worker
        self.rig.pool.note_weight_version(worker, version, self.rig.now)

    # -- requests and time ------------------------------------------------------------------------

    @rule(session=SESSIONS, excluded=st.sets(SLOTS, max_size=2))
    def enqueue(self, session: tuple[str, str] | None, excluded: set[int]) -> None:
        ids = list(self.rig.workers)
        exclude = frozenset(ids[slot - 1] for slot in excluded if slot <= len(ids))
        ticket = Ticket(wake=lambda: self.woken(ticket), session=session, exclude=exclude)
        self.waiting.append(ticket)
        try:
            self.rig.admission.enqueue(ticket, self.rig.now)
        except QueueFull:
            assert len(self.waiting) == QUEUE_SIZE + 1
            assert ticket.lease is None
            self.waiting.remove(ticket)

    @precondition(lambda self: self.waiting)
    @rule(pick=PICKS)
    def withdraw(self, pick: int) -> None:
        ticket = self.waiting.pop(pick % len(self.waiting))
        self.rig.admission.withdraw(ticket, self.rig.now)
        assert ticket.lease is None

    @precondition(lambda self: self.leases)
    @rule(pick=PICKS, twice=st.booleans())
    def release(self, pick: int, twice: bool) -> None:
        lease = self.leases.pop(pick % len(self.leases))
        for _ in range(1 + twice):
            lease.release(self.rig.now)

    @rule(step_s=st.floats(0.0, 20.0))
    def time_passes(self, step_s: float) -> None:
        self.rig.now += step_s

    @rule()
    def drain_deadlines(self) -> None:
        """What the drain task does: end the requests that still run."""
        for worker in self.rig.pool.due_drains(self.rig.now):
            mine = [lease for lease in self.leases if lease.worker is worker]
            assert mine
            self.leases = [lease for lease in self.leases if lease.worker is not worker]
            for lease in mine:
                lease.release(self.rig.now)
            assert worker.state in {State.DRAINED, State.REMOVED}

    # -- what always holds ------------------------------------------------------------------------

    @invariant()
    def leases_and_inflight_agree(self) -> None:
        assert self.rig.admission.inflight == len(self.leases)
        assert sum(w.inflight for w in self.rig.workers.values()) == len(self.leases)
        for worker in self.rig.workers.values():
            assert worker.inflight == sum(lease.worker is worker for lease in self.leases)

    @invariant()
    def nobody_waits_for_a_worker_that_is_there(self) -> None:
        assert self.rig.admission.queued == len(self.waiting) <= QUEUE_SIZE
        total = self.limits.max_inflight_total
        if total is not None and len(self.leases) >= total:
            return
        available = {w.id for w in self.rig.workers.values() if self.is_available(w)}
        for ticket in self.waiting:
            assert available <= ticket.exclude

    @invariant()
    def the_index_holds_exactly_the_available_workers(self) -> None:
        for state in ROUTABLE:
            available = {
                worker.id: worker.inflight
                for worker in self.rig.workers.values()
                if worker.state is state and self.is_available(worker)
            }
            tier = self.rig.admission._tiers[state]
            assert tier.least._level_of == available
            everyone = frozenset(self.rig.workers)
            for worker_id in everyone:
                found = tier.policy.select(self.rig.admission._rng, everyone - {worker_id})
                assert (found is not None) == (worker_id in available)

    @invariant()
    def states_make_sense(self) -> None:
        live = {worker.id: worker.state.value for worker in self.rig.workers.values()}
        assert live == self.told
        for worker in self.rig.workers.values():
            assert worker.state is not State.REMOVED
            assert not worker.is_held or worker.state in {State.QUARANTINED, *LEAVING}
            assert not worker.is_leaving or worker.state is State.DRAINING
            assert (worker.state is not State.DRAINING) or worker.inflight > 0
            assert worker.state is not State.DRAINED or worker.inflight == 0

    @invariant()
    def remember_who_is_gone(self) -> None:
        known = getattr(self, "known", {})
        for worker in known.values():
            if worker.state is State.REMOVED and worker not in self.gone:
                assert worker.inflight == 0
                self.gone.append(worker)
        self.known = {id(worker): worker for worker in self.rig.workers.values()}


TestPoolMachine = PoolMachine.TestCase
