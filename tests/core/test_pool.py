"""Membership: join, remove, drain, undrain, quarantine, release."""

from __future__ import annotations

import pytest

from miles_router.core.lifecycle import State
from miles_router.core.worker import ProbeOutcome
from miles_router.errors import IllegalTransition
from tests.core.rig import Change, Rig, state_of


def test_a_worker_joins_by_its_first_good_probe() -> None:
    rig = Rig()
    worker = rig.add(1)
    assert state_of(worker) is State.JOINING
    rig.fails(worker, ProbeOutcome.UNREACHABLE, times=20)
    assert state_of(worker) is State.JOINING  # it may still be loading its weights
    rig.passes(worker)
    assert state_of(worker) is State.ACTIVE
    assert rig.changes(worker) == [
        Change(None, "joining", "registered"),
        Change("joining", "active", "joined"),
    ]


def test_a_worker_that_does_not_answer_while_it_joins_is_told_of_once() -> None:
    rig = Rig()
    worker = rig.add(1)
    seen = rig.events.last_seq
    rig.fails(worker, ProbeOutcome.UNREACHABLE, times=20)
    [event] = rig.events.since(seen)
    assert (event.kind, event.worker_id, event.url) == ("first_probe_failed", worker.id, worker.url)
    assert event.reason == "probe unreachable"
    assert event.message.endswith("gets no requests before a probe passes: probe unreachable")
    assert (event.from_state, event.to_state) == (None, None)
    rig.passes(worker)
    seen = rig.events.last_seq
    rig.fails(worker, ProbeOutcome.UNREACHABLE)
    assert [event.kind for event in rig.events.since(seen)] == ["worker_suspect"]


def test_a_worker_that_is_paused_or_answers_at_once_is_no_such_news() -> None:
    rig = Rig()
    paused, fine = rig.add(1), rig.add(2)
    seen = rig.events.last_seq
    rig.reports(paused, ProbeOutcome.PAUSED)
    rig.passes(fine)
    kinds = [event.kind for event in rig.events.since(seen)]
    assert "first_probe_failed" not in kinds


def test_a_new_worker_is_asked_at_once() -> None:
    rig = Rig()
    wanted: list[int] = []
    rig.pool.on_probe_wanted = lambda: wanted.append(1)
    worker = rig.add(1)
    assert rig.pool.due_probes(rig.now) == [worker]
    assert wanted == [1]


def test_a_request_that_waits_is_granted_when_a_worker_joins() -> None:
    rig = Rig()
    ticket = rig.ask()
    worker = rig.add(1)
    assert ticket.lease is None
    rig.passes(worker)
    assert ticket.lease is not None
    assert ticket.lease.worker is worker


def test_removing_an_idle_worker_forgets_it() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.remove(worker, rig.now)
    assert rig.workers == {}
    assert rig.changes(worker)[-1] == Change("active", "removed", "removed")
    with pytest.raises(IllegalTransition):
        rig.pool.remove(worker, rig.now)


@pytest.mark.parametrize("deadline_s", [None, 30.0])
def test_removing_a_busy_worker_lets_it_finish_what_it_has(deadline_s: float | None) -> None:
    rig = Rig()
    worker = rig.joined(1)
    lease = rig.lease()
    rig.pool.remove(worker, rig.now, deadline_s=deadline_s)
    assert state_of(worker) is State.DRAINING
    assert rig.pool.listed == []
    assert rig.ask().lease is None  # nothing new
    assert rig.pool.due_drains(rig.now + 29.9) == []
    assert rig.pool.due_drains(rig.now + 30.0) == ([] if deadline_s is None else [worker])
    lease.release(rig.now)
    assert rig.workers == {}
    assert [change.to_state for change in rig.changes(worker)][-2:] == ["draining", "removed"]


def test_removing_a_worker_that_is_draining_removes_it_when_it_is_empty() -> None:
    rig = Rig()
    worker = rig.joined(1)
    lease = rig.lease()
    rig.pool.drain(worker, rig.now)
    rig.pool.remove(worker, rig.now)
    lease.release(rig.now)
    assert rig.workers == {}


def test_a_drained_worker_finishes_and_stays_known() -> None:
    rig = Rig()
    worker = rig.joined(1)
    leases = rig.load(worker, 2)
    rig.pool.drain(worker, rig.now, deadline_s=5.0)
    assert state_of(worker) is State.DRAINING
    assert rig.ask().lease is None
    leases[0].release(rig.now)
    assert state_of(worker) is State.DRAINING
    leases[1].release(rig.now)
    assert state_of(worker) is State.DRAINED
    assert worker.drain_deadline is None
    assert rig.changes(worker)[-2:] == [
        Change("active", "draining", "drained by an operator"),
        Change("draining", "drained", "no request left"),
    ]


def test_draining_an_idle_worker_is_done_at_once() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.drain(worker, rig.now, deadline_s=5.0)
    assert state_of(worker) is State.DRAINED
    assert rig.pool.due_drains(rig.now + 99) == []


def test_a_drain_past_its_deadline_is_due_until_the_worker_is_empty() -> None:
    rig = Rig()
    worker = rig.joined(1)
    lease = rig.lease()
    rig.pool.drain(worker, rig.now, deadline_s=5.0)
    assert rig.pool.due_drains(rig.now + 4.9) == []
    assert rig.pool.due_drains(rig.now + 5.0) == [worker]
    assert rig.pool.due_drains(rig.now + 6.0) == [worker]
    lease.release(rig.now + 6.0)
    assert rig.pool.due_drains(rig.now + 6.0) == []


@pytest.mark.parametrize("busy", [True, False])
def test_undrain_lets_a_healthy_worker_serve_at_once(busy: bool) -> None:
    rig = Rig()
    worker = rig.joined(1)
    if busy:
        rig.lease()
    rig.pool.drain(worker, rig.now, deadline_s=5.0)
    before = rig.events.last_seq
    rig.pool.undrain(worker, rig.now)
    assert state_of(worker) is State.ACTIVE
    assert worker.drain_deadline is None
    assert [c.to_state for c in rig.changes(worker, after=before)] == ["probation", "active"]


def test_undrain_of_a_worker_that_failed_meanwhile_waits_for_good_probes() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.drain(worker, rig.now)
    rig.fails(worker)
    rig.pool.undrain(worker, rig.now)
    assert state_of(worker) is State.PROBATION
    rig.passes(worker, times=2)
    assert state_of(worker) is State.ACTIVE


def test_undrain_takes_a_removal_back() -> None:
    rig = Rig()
    worker = rig.joined(1)
    lease = rig.lease()
    rig.pool.remove(worker, rig.now)
    rig.pool.undrain(worker, rig.now)
    lease.release(rig.now)
    assert rig.pool.listed == [worker]
    assert state_of(worker) is State.ACTIVE


def test_a_quarantine_by_an_operator_holds_against_good_probes_until_release() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.quarantine(worker, rig.now, reason="odd answers")
    assert rig.changes(worker)[-1] == Change("active", "quarantined", "by an operator: odd answers")
    rig.passes(worker, times=10)
    assert state_of(worker) is State.QUARANTINED
    rig.pool.release(worker, rig.now)
    assert state_of(worker) is State.PROBATION
    rig.passes(worker)
    assert state_of(worker) is State.PROBATION  # good probes while it was held do not count
    rig.passes(worker)
    assert state_of(worker) is State.ACTIVE


@pytest.mark.parametrize("busy", [True, False])
def test_a_held_worker_stays_held_through_drain_and_undrain(busy: bool) -> None:
    rig = Rig()
    worker = rig.joined(1)
    if busy:
        rig.lease()
    rig.passes(worker, times=5)
    rig.pool.quarantine(worker, rig.now)
    rig.pool.drain(worker, rig.now)
    rig.pool.undrain(worker, rig.now)
    rig.passes(worker, times=5)
    assert state_of(worker) is State.QUARANTINED
    rig.pool.release(worker, rig.now)
    rig.passes(worker, times=2)
    assert state_of(worker) is State.ACTIVE


def test_an_operators_quarantine_holds_a_worker_that_failed_before() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.fails(worker, ProbeOutcome.UNREACHABLE, times=3)
    rig.pool.quarantine(worker, rig.now)
    rig.passes(worker, times=5)
    assert state_of(worker) is State.QUARANTINED


def test_an_operators_quarantine_of_a_quarantined_worker_is_told_with_its_reason() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.fails(worker, ProbeOutcome.UNREACHABLE, times=3)
    rig.now += 5.0
    seq, since = rig.events.last_seq, worker.since
    rig.pool.quarantine(worker, rig.now, reason="bad memory")
    told = Change("quarantined", "quarantined", "by an operator: bad memory")
    assert rig.changes(worker, after=seq) == [told]
    assert (worker.reason, worker.since) == (told.reason, since)
    assert worker.is_held


@pytest.mark.parametrize("command", ["quarantine", "drain"])
def test_a_worker_that_leaves_keeps_its_running_requests(command: str) -> None:
    rig = Rig()
    worker = rig.joined(1)
    lease = rig.lease()
    getattr(rig.pool, command)(worker, rig.now)
    assert (worker.inflight, rig.admission.inflight) == (1, 1)
    assert rig.ask().lease is None
    lease.release(rig.now)
    assert (worker.inflight, rig.admission.inflight) == (0, 0)


@pytest.mark.parametrize(("first", "then"), [("drain", "undrain"), ("quarantine", "release")])
def test_a_worker_that_is_let_back_is_asked_at_once(first: str, then: str) -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.begin_probe(worker, rig.now)
    rig.pool.end_probe(worker)
    getattr(rig.pool, first)(worker, rig.now)
    assert rig.pool.due_probes(rig.now) == []
    getattr(rig.pool, then)(worker, rig.now)
    assert rig.pool.due_probes(rig.now) == [worker]
