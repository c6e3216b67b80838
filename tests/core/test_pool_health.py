"""Probes and failed requests, and what they do to a worker of a pool."""

from __future__ import annotations

import pytest

from miles_router.core.health import HealthLimits
from miles_router.core.lifecycle import State
from miles_router.core.worker import ProbeOutcome, ProbeReport
from miles_router.errors import DialFailed, DialTimeout, WorkerBroke, WorkerFault, WorkerTimeout
from tests.core.rig import Change, Rig, state_of


def test_failures_in_a_row_make_a_worker_suspect_and_then_quarantine_it() -> None:
    rig = Rig()
    worker, _other = rig.joined(1), rig.joined(2)
    states = []
    for _ in range(3):
        rig.fails(worker)
        states.append(worker.state.value)
    assert states == ["suspect", "suspect", "quarantined"]
    assert rig.changes(worker)[-2:] == [
        Change("active", "suspect", "probe unhealthy (1 of 3)"),
        Change("suspect", "quarantined", "probe unhealthy (3 in a row)"),
    ]


def test_one_good_probe_makes_a_suspect_worker_active_and_the_count_start_over() -> None:
    rig = Rig()
    worker, _other = rig.joined(1), rig.joined(2)
    for _ in range(5):
        rig.fails(worker, times=2)
        rig.passes(worker)
    assert state_of(worker) is State.ACTIVE


def test_a_quarantined_worker_comes_back_after_good_probes_in_a_row() -> None:
    rig = Rig()
    worker, _other = rig.joined(1), rig.joined(2)
    rig.fails(worker, times=3)
    rig.passes(worker)
    assert state_of(worker) is State.PROBATION
    rig.fails(worker)
    assert state_of(worker) is State.QUARANTINED
    rig.passes(worker)
    assert state_of(worker) is State.PROBATION
    rig.passes(worker)
    assert state_of(worker) is State.ACTIVE
    assert rig.changes(worker)[-1] == Change("probation", "active", "healthy again")


@pytest.mark.parametrize("outcome", [ProbeOutcome.TIMEOUT, ProbeOutcome.UNHEALTHY])
def test_a_worker_that_delivers_bytes_while_its_probe_fails_counts_nothing(
    outcome: ProbeOutcome,
) -> None:
    rig = Rig()
    worker, _other = rig.joined(1), rig.joined(2)
    for _ in range(10):
        started_at, rig.now = rig.now, rig.now + 30.0
        worker.last_bytes_at = rig.now - 1.0
        rig.reports(worker, outcome, started_at=started_at)
    assert state_of(worker) is State.ACTIVE
    assert worker.failures_in_row == 0


def test_mass_failure_keeps_the_last_worker_that_answers() -> None:
    rig = Rig()
    workers = [rig.joined(number) for number in range(1, 4)]
    for _ in range(10):
        for worker in workers:
            rig.fails(worker)
    assert [worker.state.value for worker in workers] == ["quarantined", "quarantined", "suspect"]
    assert rig.lease().worker is workers[-1]


@pytest.mark.parametrize("outcome", [ProbeOutcome.UNREACHABLE, ProbeOutcome.BROKEN])
def test_mass_failure_keeps_no_worker_that_does_not_answer(outcome: ProbeOutcome) -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.fails(worker, outcome, times=3)
    assert state_of(worker) is State.QUARANTINED


@pytest.mark.parametrize("answering_first", [True, False])
def test_a_worker_that_cannot_be_reached_is_no_reason_to_give_the_last_one_up(
    answering_first: bool,
) -> None:
    """Whichever of the two is probed first: the one that answers is kept."""
    rig = Rig()
    answering, silent = rig.joined(1), rig.joined(2)
    for _ in range(5):
        if answering_first:
            rig.fails(answering)
        rig.fails(silent, ProbeOutcome.UNREACHABLE)
        if not answering_first:
            rig.fails(answering)
    assert state_of(silent) is State.QUARANTINED
    assert state_of(answering) is State.SUSPECT


def test_the_worker_that_was_kept_goes_when_another_serves_again() -> None:
    rig = Rig()
    kept, other = rig.joined(1), rig.joined(2)
    rig.fails(other, times=3)
    rig.fails(kept, times=5)
    assert state_of(kept) is State.SUSPECT
    rig.passes(other, times=2)
    rig.fails(kept)
    assert state_of(kept) is State.QUARANTINED


def test_a_refused_connection_on_real_traffic_ejects_at_once_even_the_last_worker() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.begin_probe(worker, rig.now)
    rig.pool.end_probe(worker)
    rig.pool.note_fault(worker, DialFailed("connection refused"), rig.now)
    assert rig.changes(worker)[-1] == Change("active", "quarantined", "connection refused")
    assert rig.pool.due_probes(rig.now) == [worker]  # it is asked at once
    rig.passes(worker)
    assert state_of(worker) is State.PROBATION
    rig.passes(worker)
    assert state_of(worker) is State.ACTIVE


def test_a_refused_connection_ends_probation() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.note_fault(worker, DialFailed("refused"), rig.now)
    rig.passes(worker)
    rig.pool.note_fault(worker, DialFailed("refused"), rig.now)
    assert state_of(worker) is State.QUARANTINED


def test_a_refused_connection_leaves_a_joining_worker_joining() -> None:
    rig = Rig()
    worker = rig.add(1)
    rig.pool.note_fault(worker, DialFailed("refused"), rig.now)
    assert state_of(worker) is State.JOINING


def test_long_answers_are_no_failure() -> None:
    rig = Rig()
    worker = rig.joined(1)
    for _ in range(20):
        rig.pool.note_fault(worker, WorkerTimeout("no byte for an hour"), rig.now)
    assert state_of(worker) is State.ACTIVE
    assert worker.failures_in_row == 0
    assert worker.errors == 20


def test_broken_answers_make_suspect_and_ask_for_the_probe_that_decides() -> None:
    rig = Rig()
    worker, _other = rig.joined(1), rig.joined(2)
    rig.pool.begin_probe(worker, rig.now)
    rig.pool.end_probe(worker)
    rig.pool.note_fault(worker, WorkerBroke("connection reset"), rig.now)
    assert state_of(worker) is State.SUSPECT
    assert worker in rig.pool.due_probes(rig.now)
    rig.fails(worker, ProbeOutcome.UNREACHABLE, times=2)
    assert state_of(worker) is State.QUARANTINED


@pytest.mark.parametrize("fault", [WorkerBroke("reset"), DialTimeout("no connection")])
def test_requests_that_fail_together_are_one_failure(fault: WorkerFault) -> None:
    """A hundred requests that hang on one hiccup must not quarantine a worker by themselves."""
    rig = Rig()
    worker = rig.joined(1)
    for _ in range(20):
        rig.pool.note_fault(worker, fault, rig.now)
    assert (worker.failures_in_row, worker.errors) == (1, 20)
    assert state_of(worker) is State.SUSPECT
    rig.passes(worker)
    assert state_of(worker) is State.ACTIVE
    rig.pool.note_fault(worker, fault, rig.now)
    assert (worker.failures_in_row, state_of(worker)) == (1, State.SUSPECT)


@pytest.mark.parametrize("busy", [True, False])
def test_connects_that_time_out_count_once_per_probe_up_to_the_limit(busy: bool) -> None:
    rig = Rig(health=HealthLimits(failures=3))
    worker, _other = rig.joined(1), rig.joined(2)
    states = []
    for _ in range(3):
        for _ in range(2):
            rig.pool.note_fault(worker, DialTimeout("no connection"), rig.now)
        states.append(worker.state.value)
        if busy:
            worker.last_bytes_at = rig.now  # the probe fails but counts nothing itself
            rig.fails(worker, ProbeOutcome.TIMEOUT)
    assert states == ["suspect", "suspect", "quarantined" if busy else "suspect"]


def test_a_refused_connection_ejects_whatever_was_counted_before() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.note_fault(worker, DialTimeout("no connection"), rig.now)
    rig.pool.note_fault(worker, DialFailed("refused"), rig.now)
    assert state_of(worker) is State.QUARANTINED
    assert worker.failures_in_row == 2


def test_the_last_worker_goes_when_another_service_has_its_address() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.fails(worker, ProbeOutcome.NOT_A_WORKER, times=3)
    assert state_of(worker) is State.QUARANTINED


@pytest.mark.parametrize(
    "fault", [DialFailed("refused"), WorkerBroke("reset"), DialTimeout("slow")]
)
def test_late_news_of_a_removed_worker_change_nothing(fault: WorkerFault) -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.remove(worker, rig.now)
    again = rig.joined(1)
    rig.pool.note_fault(worker, fault, rig.now)
    rig.fails(worker)
    rig.passes(worker)
    assert (worker.state, again.state) == (State.REMOVED, State.ACTIVE)
    assert rig.workers == {again.id: again}


@pytest.mark.parametrize(
    "fault", [DialFailed("refused"), WorkerBroke("reset"), DialTimeout("slow")]
)
def test_health_does_not_move_a_draining_worker(fault: WorkerFault) -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.lease()
    rig.pool.drain(worker, rig.now)
    rig.fails(worker, ProbeOutcome.UNREACHABLE, times=5)
    rig.pool.note_fault(worker, fault, rig.now)
    rig.passes(worker, times=5)
    assert state_of(worker) is State.DRAINING


def test_probes_are_spaced_from_start_to_start_and_never_overlap() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.begin_probe(worker, 100.0, jitter=0.1)
    assert rig.pool.due_probes(1_000.0) == []  # one is on its way
    assert rig.pool.next_probe_at() == float("inf")
    rig.pool.end_probe(worker)
    assert rig.pool.next_probe_at() == pytest.approx(111.0)
    assert rig.pool.due_probes(110.9) == []
    assert rig.pool.due_probes(111.1) == [worker]


def test_a_probe_asked_for_during_a_probe_follows_it() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.begin_probe(worker, rig.now)
    rig.pool.note_fault(worker, WorkerBroke("reset"), rig.now)
    assert rig.pool.due_probes(rig.now) == []
    rig.pool.end_probe(worker)
    assert rig.pool.due_probes(rig.now) == [worker]


def test_the_last_probe_is_kept_with_what_it_showed() -> None:
    rig = Rig()
    worker = rig.joined(1)
    report = ProbeReport(ProbeOutcome.PASSED, 1.0, 2.0, weight_version="1", model_path="/m")
    rig.pool.note_probe(worker, report, rig.now)
    assert worker.last_probe is report
    assert (worker.model_path, worker.weight_version) == ("/m", "1")
