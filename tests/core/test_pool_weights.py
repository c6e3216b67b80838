"""Which workers may serve while weight versions come and go."""

from __future__ import annotations

import pytest

from miles_router.core.lifecycle import State
from miles_router.core.worker import ProbeOutcome, Worker
from miles_router.errors import DialFailed
from tests.core.rig import Rig, state_of


def pool_of(rig: Rig, *, version: str = "1", count: int = 2) -> list[Worker]:
    return [rig.joined(number, version) for number in range(1, count + 1)]


def knock_out(rig: Rig, worker: Worker) -> None:
    rig.pool.note_fault(worker, DialFailed("refused"), rig.now)
    assert state_of(worker) is State.QUARANTINED


def update(rig: Rig, workers: list[Worker], version: str) -> None:
    for worker in workers:
        rig.passes(worker, version)


def test_the_first_worker_brings_the_first_version() -> None:
    rig = Rig()
    worker = rig.joined(1, "7")
    assert state_of(worker) is State.ACTIVE
    assert rig.pool.versions.newest == "7"
    event = rig.newest_event()
    assert (event.kind, event.worker_id, event.reason) == ("weight_version", worker.id, None)


def test_a_pool_without_versions_works() -> None:
    rig = Rig()
    first, second = rig.joined(1, None), rig.joined(2, None)
    knock_out(rig, first)
    rig.passes(first, None, times=2)
    assert (first.state, second.state) == (State.ACTIVE, State.ACTIVE)


def test_serving_workers_keep_serving_while_an_update_goes_round() -> None:
    rig = Rig()
    first, second = pool_of(rig)
    rig.passes(first, "2")
    rig.passes(second, "1")
    assert (first.state, second.state) == (State.ACTIVE, State.ACTIVE)
    assert rig.pool.versions.newest == "2"
    assert rig.newest_event().reason == "follows '1'"
    rig.passes(second, "2")
    assert rig.pool.versions.arrived == ("1", "2")


@pytest.mark.parametrize("version", ["1", "0", "3", None])
def test_a_worker_that_returns_with_other_weights_is_held_stale(version: str | None) -> None:
    rig = Rig()
    first, second = pool_of(rig)
    knock_out(rig, first)
    update(rig, [second], "2")
    rig.passes(first, version, times=5)
    assert state_of(first) is State.STALE
    assert first.reason == f"weight version {version!r} is not the newest, '2'"
    for _ in range(4):
        assert rig.lease().worker is second


def test_a_stale_worker_serves_once_it_reports_the_newest_version() -> None:
    rig = Rig()
    first, second = pool_of(rig)
    knock_out(rig, first)
    update(rig, [second], "2")
    rig.passes(first, "1", times=2)
    rig.passes(first, "2")
    assert state_of(first) is State.ACTIVE


def test_a_stale_worker_that_was_ahead_serves_as_soon_as_the_others_follow() -> None:
    rig = Rig()
    first, second = pool_of(rig)
    knock_out(rig, first)
    rig.passes(first, "2", times=2)  # it was updated before it was ready
    assert state_of(first) is State.STALE
    rig.pool.begin_probe(first, rig.now)
    rig.pool.end_probe(first)
    assert first not in rig.pool.due_probes(rig.now)
    update(rig, [second], "2")
    assert first in rig.pool.due_probes(rig.now)  # asked at once
    rig.passes(first, "2")
    assert state_of(first) is State.ACTIVE


def test_a_stale_worker_must_be_healthy_to_serve() -> None:
    rig = Rig()
    first, second = pool_of(rig)
    knock_out(rig, first)
    update(rig, [second], "2")
    rig.passes(first, "1", times=2)
    rig.fails(first)
    assert state_of(first) is State.STALE
    rig.passes(first, "2")
    assert state_of(first) is State.STALE  # one good probe in a row is not enough
    rig.passes(first, "2")
    assert state_of(first) is State.ACTIVE
    knock_out(rig, first)


def test_a_stale_worker_that_fails_out_is_quarantined() -> None:
    rig = Rig()
    first, second = pool_of(rig)
    knock_out(rig, first)
    update(rig, [second], "2")
    rig.passes(first, "1", times=2)
    rig.fails(first, ProbeOutcome.UNREACHABLE, times=3)
    assert state_of(first) is State.QUARANTINED


def test_an_operator_may_let_a_stale_worker_serve_as_it_is() -> None:
    rig = Rig()
    first, second = pool_of(rig)
    knock_out(rig, first)
    update(rig, [second], "2")
    rig.passes(first, "1", times=2)
    rig.pool.release(first, rig.now)
    assert state_of(first) is State.ACTIVE
    rig.passes(first, "1", times=5)
    assert state_of(first) is State.ACTIVE
    assert rig.pool.versions.newest == "2"


def test_a_version_that_an_operator_lets_serve_arrives_with_it() -> None:
    rig = Rig()
    first, _second = pool_of(rig)
    knock_out(rig, first)
    rig.passes(first, "2", times=2)
    assert rig.pool.versions.newest == "1"
    rig.pool.release(first, rig.now)
    assert rig.pool.versions.newest == "2"


def test_a_version_that_was_never_seen_counts_as_newest_where_no_worker_serves() -> None:
    rig = Rig()
    first, second = pool_of(rig)
    knock_out(rig, first)
    knock_out(rig, second)
    rig.passes(first, "2", times=2)
    assert state_of(first) is State.ACTIVE
    assert rig.pool.versions.newest == "2"
    rig.passes(second, "1", times=2)
    assert state_of(second) is State.STALE


def test_a_superseded_version_stays_out_even_where_no_worker_serves() -> None:
    rig = Rig()
    first, second = pool_of(rig)
    update(rig, [first, second], "2")
    knock_out(rig, first)
    knock_out(rig, second)
    rig.passes(first, "1", times=5)
    assert state_of(first) is State.STALE
    rig.pool.release(first, rig.now)
    assert rig.lease().worker is first


def test_a_new_worker_joins_only_with_the_newest_version() -> None:
    rig = Rig()
    pool_of(rig)
    late = rig.joined(3, "default")
    assert state_of(late) is State.STALE
    rig.passes(late, "1", times=2)
    assert state_of(late) is State.ACTIVE


def test_a_worker_drained_for_its_update_returns_when_it_has_the_newest() -> None:
    rig = Rig()
    first, second = pool_of(rig)
    rig.pool.drain(first, rig.now)
    update(rig, [second], "2")
    rig.pool.undrain(first, rig.now)
    assert state_of(first) is State.STALE
    rig.passes(first, "2")
    assert state_of(first) is State.ACTIVE


def test_answers_bring_a_version_before_the_next_probe_does() -> None:
    rig = Rig()
    first, second = pool_of(rig)
    rig.pool.note_weight_version(first, "2", rig.now)
    assert rig.pool.versions.newest == "2"
    assert first.weight_version == "2"
    assert state_of(second) is State.ACTIVE


@pytest.mark.parametrize("command", ["quarantine", "drain"])
def test_answers_of_a_worker_that_is_out_do_not_name_the_newest_version(command: str) -> None:
    rig = Rig()
    first, _second = pool_of(rig)
    lease = rig.load(first, 1)[0]
    getattr(rig.pool, command)(first, rig.now)
    rig.pool.note_weight_version(first, "0", rig.now)
    assert rig.pool.versions.newest == "1"
    lease.release(rig.now)


def test_probes_of_a_worker_that_is_out_do_not_name_the_newest_version() -> None:
    rig = Rig()
    first, _second = pool_of(rig)
    rig.pool.quarantine(first, rig.now)
    rig.passes(first, "0", times=3)
    assert rig.pool.versions.newest == "1"
    assert first.weight_version == "0"
