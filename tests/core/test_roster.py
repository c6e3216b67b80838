"""Finding workers, counting them, and how a step is told."""

from __future__ import annotations

import pytest

from miles_router.core.lifecycle import State, Trigger
from miles_router.core.worker import ProbeOutcome, Worker
from miles_router.errors import DialFailed, IllegalTransition, UnknownWorker
from tests.core.rig import Rig, url


def test_a_worker_is_found_by_id_and_by_any_spelling_of_its_url() -> None:
    rig = Rig()
    worker = rig.add(1)
    for name in (worker.id, url(1), f" {url(1)}/ ", "HTTP://10.0.0.1:8000", "http://10.1:8000"):
        assert rig.pool.find(name) is worker


@pytest.mark.parametrize(
    "name", ["", "w0", "http://10.0.0.2:8000", "http://", "\ud800", "http://10.0.0.1:8000/x"]
)
def test_other_names_find_nothing(name: str) -> None:
    rig = Rig()
    rig.add(1)
    with pytest.raises(UnknownWorker, match="GET /workers"):
        rig.pool.find(name)


def test_workers_are_listed_in_order_of_registration_whatever_their_state() -> None:
    rig = Rig()
    workers = [rig.add(number) for number in (3, 1, 2)]
    rig.pool.quarantine(workers[1], rig.now)
    rig.add(3)
    assert rig.pool.listed == workers
    assert rig.pool.count(State.JOINING) == 2
    assert rig.pool.count(State.JOINING, State.QUARANTINED) == 3
    assert rig.pool.states() == {"joining": 2, "quarantined": 1}


def test_the_states_count_everyone_who_is_there_also_those_being_removed() -> None:
    rig = Rig()
    assert rig.pool.states() == {}
    first, _second = rig.joined(1), rig.joined(2)
    lease = rig.load(first, 1)[0]
    rig.pool.remove(first, rig.now)
    assert rig.pool.states() == {"draining": 1, "active": 1}
    lease.release(rig.now)
    assert rig.pool.states() == {"active": 1}


def test_a_probe_is_due_at_its_very_time() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.begin_probe(worker, rig.now)
    rig.pool.end_probe(worker)
    assert rig.pool.due_probes(rig.pool.next_probe_at()) == [worker]


def test_a_worker_that_is_drained_has_no_deadline_to_miss() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.drain(worker, rig.now)
    rig.pool.drain(worker, rig.now, deadline_s=5.0)
    assert rig.pool.due_drains(rig.now + 99.0) == []


def test_an_empty_pool_has_no_probe_due() -> None:
    rig = Rig()
    assert rig.pool.next_probe_at() == float("inf")
    assert rig.pool.due_probes(1e9) == []


@pytest.mark.parametrize(
    ("state", "serves"),
    [(State.ACTIVE, True), (State.SUSPECT, True), (State.STALE, False), (State.DRAINING, False)],
)
def test_only_routable_others_serve(state: State, serves: bool) -> None:
    rig = Rig()
    worker, other = rig.add(1), rig.add(2)
    worker.state, other.state = State.ACTIVE, state
    assert rig.pool.others_serve(worker) is serves


@pytest.mark.parametrize(
    ("outcome", "failures", "answers"),
    [
        (ProbeOutcome.TIMEOUT, 0, True),  # busy: its answers arrived while the probe failed
        (ProbeOutcome.TIMEOUT, 1, False),
        (ProbeOutcome.UNREACHABLE, 1, False),
        (ProbeOutcome.UNHEALTHY, 2, True),
        (ProbeOutcome.NOT_A_WORKER, 1, False),
    ],
)
def test_others_answer_well_or_badly_but_not_by_silence(
    outcome: ProbeOutcome, failures: int, answers: bool
) -> None:
    rig = Rig()
    worker, other = rig.joined(1), rig.joined(2)
    rig.reports(other, outcome)
    other.failures_in_row = failures
    assert rig.pool.others_answer(worker) is answers
    rig.pool.drain(other, rig.now)
    assert rig.pool.others_answer(worker) is False


def fields(worker: Worker) -> dict[str, object]:
    return {name: getattr(worker, name) for name in Worker.__slots__}


@pytest.mark.parametrize(
    ("state", "command"),
    [
        (State.JOINING, "release"),
        (State.JOINING, "undrain"),
        (State.ACTIVE, "release"),
        (State.ACTIVE, "undrain"),
        (State.SUSPECT, "release"),
        (State.QUARANTINED, "undrain"),
        (State.PROBATION, "release"),
        (State.STALE, "undrain"),
        (State.DRAINING, "quarantine"),
        (State.DRAINING, "release"),
        (State.DRAINED, "quarantine"),
        (State.DRAINED, "release"),
        (State.REMOVED, "remove"),
        (State.REMOVED, "drain"),
        (State.REMOVED, "undrain"),
        (State.REMOVED, "quarantine"),
        (State.REMOVED, "release"),
    ],
)
def test_an_illegal_command_raises_and_changes_nothing(state: State, command: str) -> None:
    rig = Rig()
    worker = rig.joined(1)
    worker.state = state
    rig.admission.refresh(worker)
    before, seq = fields(worker), rig.events.last_seq
    with pytest.raises(IllegalTransition, match=state.value):
        getattr(rig.pool, command)(worker, rig.now + 1.0)
    assert fields(worker) == before
    assert rig.events.last_seq == seq


def test_a_step_to_the_same_state_is_not_told_and_keeps_its_time() -> None:
    rig = Rig()
    worker = rig.joined(1)
    seq, since = rig.events.last_seq, worker.since
    rig.pool.step(worker, Trigger.PASSED, "again", rig.now + 5.0)
    assert (rig.events.last_seq, worker.since, worker.reason) == (seq, since, "joined")


def test_every_change_is_told_once_with_where_from_where_to_and_why() -> None:
    rig = Rig()
    seen: list[tuple[str | None, str | None]] = []
    rig.events.subscribe(lambda event: seen.append((event.from_state, event.to_state)))
    worker = rig.add(1)
    rig.now += 1.0
    rig.passes(worker)
    rig.fails(worker)
    rig.pool.note_fault(worker, DialFailed("refused"), rig.now)
    rig.passes(worker, times=2)
    rig.lease()
    rig.pool.drain(worker, rig.now)
    rig.pool.undrain(worker, rig.now)
    rig.pool.quarantine(worker, rig.now)
    rig.pool.release(worker, rig.now)
    rig.pool.remove(worker, rig.now)
    states = ["joining", "active", "suspect", "quarantined", "probation", "active", "draining"]
    states += ["probation", "active", "quarantined", "probation", "draining"]
    changes = [pair for pair in seen if pair[1] is not None]
    assert changes == list(zip([None, *states], states, strict=False))
    for event in rig.events.since(0):
        if event.to_state is not None:
            assert event.kind == f"worker_{event.to_state}"
            assert event.reason
            assert event.url == worker.url
            assert event.reason in event.message
    assert worker.since == rig.now
