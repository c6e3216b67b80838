"""What one probe or one failed request means, as tables."""

from __future__ import annotations

import pytest

from miles_router.core.health import HealthLimits, judge_fault, judge_probe, next_probe_delay_s
from miles_router.core.lifecycle import State, Trigger
from miles_router.core.worker import ProbeOutcome, ProbeReport, Worker
from miles_router.errors import (
    DialFailed,
    DialTimeout,
    NotAWorker,
    WorkerBroke,
    WorkerFault,
    WorkerTimeout,
)
from tests.core.rig import bare_worker

LIMITS = HealthLimits(failures=3, successes=2)
BAD = [o for o in ProbeOutcome if o not in {ProbeOutcome.PASSED, ProbeOutcome.PAUSED}]


def worker_in(state: State, *, failures: int = 0) -> Worker:
    worker = bare_worker(1)
    worker.state = state
    worker.failures_in_row = failures
    return worker


def report(outcome: ProbeOutcome, *, detail: str = "") -> ProbeReport:
    return ProbeReport(outcome, started_at=50.0, finished_at=51.0, detail=detail)


def probe_trigger(worker: Worker, outcome: ProbeOutcome, *, others: bool = True) -> Trigger | None:
    return judge_probe(worker, report(outcome), LIMITS, others_answer=others).trigger


def fault_trigger(worker: Worker, fault: WorkerFault) -> Trigger | None:
    return judge_fault(worker, fault, LIMITS).trigger


@pytest.mark.parametrize("failures", [0, 2, 50])
@pytest.mark.parametrize("state", State)
def test_a_good_probe_passes_whatever_was_before(state: State, failures: int) -> None:
    worker = worker_in(state, failures=failures)
    assert probe_trigger(worker, ProbeOutcome.PASSED) is Trigger.PASSED


@pytest.mark.parametrize("outcome", BAD)
@pytest.mark.parametrize(
    ("failures_before", "trigger"),
    [(0, Trigger.FAILED), (1, Trigger.FAILED), (2, Trigger.FAILED_OUT), (9, Trigger.FAILED_OUT)],
)
def test_the_limit_of_failures_in_a_row_decides(
    outcome: ProbeOutcome, failures_before: int, trigger: Trigger
) -> None:
    worker = worker_in(State.ACTIVE, failures=failures_before)
    assert probe_trigger(worker, outcome) is trigger


@pytest.mark.parametrize("outcome", BAD)
def test_a_probe_that_fails_while_answers_arrive_says_nothing(outcome: ProbeOutcome) -> None:
    worker = worker_in(State.SUSPECT, failures=9)
    worker.last_bytes_at = 50.0  # at the very start of the probe
    assert probe_trigger(worker, outcome, others=False) is None
    worker.last_bytes_at = 49.9  # before it
    assert probe_trigger(worker, outcome) is Trigger.FAILED_OUT


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (ProbeOutcome.UNHEALTHY, True),
        (ProbeOutcome.NOT_A_WORKER, False),  # another service has its address
        (ProbeOutcome.TIMEOUT, False),
        (ProbeOutcome.UNREACHABLE, False),
        (ProbeOutcome.BROKEN, False),
    ],
)
def test_the_last_worker_is_kept_if_and_only_if_it_answers(
    outcome: ProbeOutcome, kept: bool
) -> None:
    worker = worker_in(State.SUSPECT, failures=2)
    trigger = probe_trigger(worker, outcome, others=False)
    assert trigger is (Trigger.FAILED if kept else Trigger.FAILED_OUT)


@pytest.mark.parametrize("state", [State.STALE, State.PROBATION, State.QUARANTINED])
def test_a_worker_that_serves_nothing_is_not_kept_as_the_last_one(state: State) -> None:
    worker = worker_in(state, failures=2)
    assert probe_trigger(worker, ProbeOutcome.UNHEALTHY, others=False) is Trigger.FAILED_OUT


def test_the_reason_names_outcome_detail_and_count() -> None:
    worker = worker_in(State.ACTIVE)
    bad = report(ProbeOutcome.UNHEALTHY, detail="status 500")
    verdict = judge_probe(worker, bad, LIMITS, others_answer=True)
    assert verdict.reason == "probe unhealthy: status 500 (1 of 3)"
    worker.failures_in_row = 2
    verdict = judge_probe(worker, bad, LIMITS, others_answer=True)
    assert verdict.reason == "probe unhealthy: status 500 (3 in a row)"


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("failures", [0, 2, 50])
def test_a_long_answer_is_no_failure(state: State, failures: int) -> None:
    assert fault_trigger(worker_in(state, failures=failures), WorkerTimeout("slow")) is None


@pytest.mark.parametrize("failures", [0, 2])
def test_a_refused_connection_ejects_at_once(failures: int) -> None:
    worker = worker_in(State.ACTIVE, failures=failures)
    assert fault_trigger(worker, DialFailed("refused")) is Trigger.EJECT


@pytest.mark.parametrize("failures", [0, 2, 50])
def test_broken_answers_alone_never_quarantine(failures: int) -> None:
    """A prompt that crashes whoever gets it must not empty the pool without a probe."""
    worker = worker_in(State.ACTIVE, failures=failures)
    assert fault_trigger(worker, WorkerBroke("reset")) is Trigger.FAILED


@pytest.mark.parametrize(
    ("failures", "trigger"), [(0, Trigger.FAILED), (1, Trigger.FAILED), (2, Trigger.FAILED_OUT)]
)
def test_slow_connects_count_like_failed_probes(failures: int, trigger: Trigger) -> None:
    worker = worker_in(State.ACTIVE, failures=failures)
    assert fault_trigger(worker, DialTimeout("no connection")) is trigger


@pytest.mark.parametrize(
    "state",
    [State.JOINING, State.QUARANTINED, State.PROBATION, State.STALE, State.DRAINING],
)
@pytest.mark.parametrize("fault", [WorkerBroke("reset"), DialTimeout("slow"), NotAWorker("?")])
def test_requests_left_over_on_a_worker_that_is_out_say_nothing(
    state: State, fault: WorkerFault
) -> None:
    assert fault_trigger(worker_in(state, failures=2), fault) is None


@pytest.mark.parametrize(
    ("state", "interval_s", "delay_s"),
    [
        (State.JOINING, 10.0, 1.0),
        (State.JOINING, 0.2, 0.2),
        (State.ACTIVE, 10.0, 10.0),
        (State.STALE, 10.0, 10.0),
    ],
)
def test_a_joining_worker_is_asked_every_second(
    state: State, interval_s: float, delay_s: float
) -> None:
    limits = HealthLimits(interval_s=interval_s)
    assert next_probe_delay_s(state, limits) == pytest.approx(delay_s)


def test_a_paused_worker_counts_neither_as_failing_nor_as_healthy() -> None:
    worker = worker_in(State.ACTIVE, failures=2)
    assert probe_trigger(worker, ProbeOutcome.PAUSED) is None
