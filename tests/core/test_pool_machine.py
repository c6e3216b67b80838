"""Everything that can happen to a pool, in any order, against a plain model of what must hold."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from miles_router.core.admission import AdmissionLimits, Ticket
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
from tests.core.pool_oracle import PoolOracle
from tests.core.rig import Rig, url

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
    oracle: PoolOracle

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
        self.oracle = PoolOracle(self.rig, self.limits)
        self.gone: list[Worker] = []

    # -- membership and commands ------------------------------------------------------------------

    @rule(slot=SLOTS, api_key=st.sampled_from([None, "a", "b"]), lifts_hold=st.booleans())
    def add(self, slot: int, api_key: str | None, lifts_hold: bool) -> None:
        known = next((w for w in self.rig.workers.values() if w.url == url(slot)), None)
        before = None if known is None else (known.spec.api_key, known.state, known.is_held)
        is_drained = known is not None and known.state in LEAVING and not known.is_leaving
        worker = self.rig.add(slot, api_key=api_key, lifts_hold=lifts_hold)
        assert worker is known or before is None
        known_key = before and before[0]
        newest_key = (api_key or known_key) if lifts_hold else (known_key or api_key)
        assert worker.spec.api_key == newest_key
        if before is not None and (before[2] or is_drained) and not lifts_hold:
            assert (worker.state, worker.is_held) == before[1:]
        else:
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
            self.oracle.released_by_hand = worker.id if command == "release" else ""
            order(worker, self.rig.now, **options)
            self.oracle.released_by_hand = ""
            self.oracle.check_obeyed(worker, command)
            return
        before = self.oracle.picture(worker)
        with pytest.raises(IllegalTransition):
            order(worker, self.rig.now, **options)
        assert self.oracle.picture(worker) == before

    # -- probes and faults ------------------------------------------------------------------------

    @precondition(lambda self: self.rig.workers)
    @rule(pick=PICKS, version=VERSIONS, times=st.integers(1, 2))
    def probe_passes(self, pick: int, version: str | None, times: int) -> None:
        worker, versions = self.pick(pick), self.rig.pool.versions
        was_held = worker.is_held
        for _ in range(times):
            was_routable, arrived = worker.is_routable, versions.arrived
            expected = State.ACTIVE if self.oracle.keeps_serving(worker, version) else State.STALE
            self.probe(worker, ProbeOutcome.PASSED, version)
            if was_routable:
                assert worker.state is expected
            if worker.is_routable and version not in {None, *arrived}:
                assert versions.newest == version
        assert not (was_held and worker.is_routable)

    def probe(self, worker: Worker, outcome: ProbeOutcome, version: str | None = None) -> None:
        self.rig.pool.begin_probe(worker, self.rig.now)
        self.rig.pool.end_probe(worker)
        self.rig.reports(worker, outcome, version=version)
        self.oracle.counted.discard(worker)

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
            self.probe(worker, outcome)
        if was_routable and not others and outcome is ProbeOutcome.UNHEALTHY:
            assert worker.is_routable

    @precondition(lambda self: self.rig.workers)
    @rule(pick=PICKS, fault=FAULTS)
    def request_fails(self, pick: int, fault: WorkerFault) -> None:
        worker = self.pick(pick)
        before, failures = worker.state, worker.failures_in_row
        was_counted = worker in self.oracle.counted
        self.rig.pool.note_fault(worker, fault, self.rig.now)
        if isinstance(fault, DialFailed):
            assert not worker.is_routable
            self.oracle.counted.add(worker)
        elif isinstance(fault, WorkerTimeout) or before not in ROUTABLE or was_counted:
            assert (worker.state, worker.failures_in_row) == (before, failures)
        else:
            assert worker.failures_in_row == failures + 1
            assert worker.state is not State.ACTIVE
            assert worker.next_probe_at <= self.rig.now
            self.oracle.counted.add(worker)

    @precondition(lambda self: self.gone)
    @rule(pick=PICKS, fault=FAULTS, version=VERSIONS)
    def late_news_of_one_that_is_gone(
        self, pick: int, fault: WorkerFault, version: str | None
    ) -> None:
        worker, seq = self.gone[pick % len(self.gone)], self.rig.events.last_seq
        self.rig.pool.note_fault(worker, fault, self.rig.now)
        self.rig.passes(worker, version)
        assert (worker.state, self.rig.events.last_seq) == (State.REMOVED, seq)

    @precondition(lambda self: self.oracle.leases)
    @rule(pick=PICKS, version=st.sampled_from(["1", "2", "3"]))
    def answer_names_a_version(self, pick: int, version: str) -> None:
        worker = self.oracle.leases[pick % len(self.oracle.leases)].worker
        known, arrived = worker.weight_version, self.rig.pool.versions.arrived
        is_believed = self.oracle.believes(worker, version)
        self.rig.pool.note_weight_version(worker, version, self.rig.now)
        assert worker.weight_version == (version if is_believed else known)
        if is_believed and worker.is_routable and version not in arrived:
            assert self.rig.pool.versions.newest == version
        else:
            assert self.rig.pool.versions.arrived == arrived

    # -- requests and time ------------------------------------------------------------------------

    @rule(session=SESSIONS, excluded=st.sets(SLOTS, max_size=2))
    def enqueue(self, session: tuple[str, str] | None, excluded: set[int]) -> None:
        ids = list(self.rig.workers)
        exclude = frozenset(ids[slot - 1] for slot in excluded if slot <= len(ids))
        ticket = Ticket(wake=lambda: self.oracle.woken(ticket), session=session, exclude=exclude)
        self.oracle.waiting.append(ticket)
        try:
            self.rig.admission.enqueue(ticket, self.rig.now)
        except QueueFull:
            assert len(self.oracle.waiting) == QUEUE_SIZE + 1
            assert ticket.lease is None
            self.oracle.waiting.remove(ticket)

    @precondition(lambda self: self.oracle.waiting)
    @rule(pick=PICKS)
    def withdraw(self, pick: int) -> None:
        ticket = self.oracle.waiting.pop(pick % len(self.oracle.waiting))
        self.rig.admission.withdraw(ticket, self.rig.now)
        assert ticket.lease is None

    @precondition(lambda self: self.oracle.leases)
    @rule(pick=PICKS, twice=st.booleans())
    def release(self, pick: int, twice: bool) -> None:
        lease = self.oracle.leases.pop(pick % len(self.oracle.leases))
        for _ in range(1 + twice):
            lease.release(self.rig.now)

    @rule(step_s=st.floats(0.0, 20.0))
    def time_passes(self, step_s: float) -> None:
        self.rig.now += step_s

    @rule()
    def drain_deadlines(self) -> None:
        """What the drain task does: end the requests that still run."""
        for worker in self.rig.pool.due_drains(self.rig.now):
            mine = [lease for lease in self.oracle.leases if lease.worker is worker]
            assert mine
            self.oracle.leases = [
                lease for lease in self.oracle.leases if lease.worker is not worker
            ]
            for lease in mine:
                lease.release(self.rig.now)
            assert worker.state in {State.DRAINED, State.REMOVED}

    # -- what always holds ------------------------------------------------------------------------

    @invariant()
    def leases_and_inflight_agree(self) -> None:
        assert self.rig.admission.inflight == len(self.oracle.leases)
        assert sum(w.inflight for w in self.rig.workers.values()) == len(self.oracle.leases)
        for worker in self.rig.workers.values():
            assert worker.inflight == sum(lease.worker is worker for lease in self.oracle.leases)

    @invariant()
    def nobody_waits_for_a_worker_that_is_there(self) -> None:
        assert self.rig.admission.queued == len(self.oracle.waiting) <= QUEUE_SIZE
        total = self.limits.max_inflight_total
        if total is not None and len(self.oracle.leases) >= total:
            return
        available = {w.id for w in self.rig.workers.values() if self.oracle.is_available(w)}
        for ticket in self.oracle.waiting:
            assert available <= ticket.exclude

    @invariant()
    def the_index_holds_exactly_the_available_workers(self) -> None:
        for state in ROUTABLE:
            available = {
                worker.id: worker.inflight
                for worker in self.rig.workers.values()
                if worker.state is state and self.oracle.is_available(worker)
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
        assert live == self.oracle.told
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
