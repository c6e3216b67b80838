"""Workers that restart while they serve, and an operator's word on what is the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miles_router.core.lifecycle import State
from miles_router.errors import DialFailed
from tests.core.rig import Change, Rig, state_of

if TYPE_CHECKING:
    from miles_router.core.worker import Worker


def pool_at(rig: Rig, *versions: str, count: int = 2) -> list[Worker]:
    """Serving workers that went through `versions` one after the other."""
    workers = [rig.joined(number, versions[0]) for number in range(1, count + 1)]
    for version in versions[1:]:
        for worker in workers:
            rig.passes(worker, version)
    return workers


def scheduled(rig: Rig, *workers: Worker) -> None:
    """Put the next probe of `workers` where nothing but an order makes it due."""
    for worker in workers:
        rig.pool.begin_probe(worker, rig.now)
        rig.pool.end_probe(worker)


@pytest.mark.parametrize("suspect", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_a_serving_worker_that_went_back_to_an_older_version_is_held_stale(
    suspect: bool, count: int
) -> None:
    rig = Rig()
    worker, *_others = pool_at(rig, "1", "2", count=count)
    if suspect:
        rig.fails(worker)
    before = state_of(worker).value
    rig.passes(worker, "1")
    reason = "weight version '1' is not the newest, '2'"
    assert rig.changes(worker)[-1] == Change(before, "stale", reason)
    assert rig.pool.versions.newest == "2"
    assert rig.ask(exclude=_others).lease is None
    rig.passes(worker, "2")
    assert state_of(worker) is State.ACTIVE


@pytest.mark.parametrize("version", ["default", None])
def test_a_worker_that_names_other_weights_after_failed_probes_is_held_stale(
    version: str | None,
) -> None:
    rig = Rig()
    worker, other = pool_at(rig, "1", "2")
    rig.fails(worker)
    rig.passes(worker, version)
    assert state_of(worker) is State.STALE
    assert rig.pool.versions.newest == "2"
    assert rig.lease().worker is other


def test_a_worker_that_was_updated_while_its_probes_failed_serves_on() -> None:
    rig = Rig()
    worker, other = pool_at(rig, "1")
    rig.passes(other, "2")
    rig.fails(worker)
    rig.passes(worker, "2")
    assert state_of(worker) is State.ACTIVE


def test_the_only_worker_may_bring_a_new_version_across_failed_probes() -> None:
    rig = Rig()
    [worker] = pool_at(rig, "1", count=1)
    rig.fails(worker)
    rig.passes(worker, "2")
    assert state_of(worker) is State.ACTIVE
    assert rig.pool.versions.newest == "2"


@pytest.mark.parametrize("suspect", [True, False])
def test_a_worker_that_keeps_its_version_while_others_are_updated_serves_on(suspect: bool) -> None:
    rig = Rig()
    worker, other = pool_at(rig, "1")
    rig.passes(other, "2")
    rig.passes(other, "3")
    if suspect:
        rig.fails(worker)
    rig.passes(worker, "1")
    assert state_of(worker) is State.ACTIVE


@pytest.mark.parametrize(("version", "newest"), [("2", "3"), ("3", "3"), ("4", "4")])
def test_an_update_of_a_healthy_worker_is_no_restart(version: str, newest: str) -> None:
    rig = Rig()
    worker, other = pool_at(rig, "1")
    rig.passes(other, "2")
    rig.passes(other, "3")
    rig.passes(worker, version)
    assert state_of(worker) is State.ACTIVE
    assert rig.pool.versions.newest == newest


def test_an_answer_that_began_before_an_update_does_not_take_it_back() -> None:
    rig = Rig()
    worker, _other = pool_at(rig, "1", "2")
    rig.pool.note_weight_version(worker, "1", rig.now)
    assert worker.weight_version == "2"
    rig.passes(worker, "2")
    assert state_of(worker) is State.ACTIVE


def test_an_answer_of_a_suspect_worker_leaves_the_question_of_a_restart_to_its_probe() -> None:
    rig = Rig()
    worker, _other = pool_at(rig, "1", "2")
    rig.fails(worker)
    rig.pool.note_weight_version(worker, "default", rig.now)
    assert (worker.weight_version, rig.pool.versions.newest) == ("2", "2")
    rig.passes(worker, "default")
    assert state_of(worker) is State.STALE


def test_an_answer_of_a_suspect_worker_tells_that_it_has_the_newest() -> None:
    rig = Rig()
    worker, other = pool_at(rig, "1")
    rig.passes(other, "2")
    rig.fails(worker)
    rig.pool.note_weight_version(worker, "2", rig.now)
    assert worker.weight_version == "2"


def knocked_out(rig: Rig, *workers: Worker) -> None:
    """Make `workers` stale with version 1, the last of them when nobody serves any more."""
    for worker in workers:
        rig.pool.note_fault(worker, DialFailed("refused"), rig.now)
    for worker in workers:
        rig.passes(worker, "1", times=2)
        assert state_of(worker) is State.STALE


def test_a_release_where_nobody_serves_makes_the_version_the_newest() -> None:
    rig = Rig()
    first, second = pool_at(rig, "1", "2")
    knocked_out(rig, first, second)
    scheduled(rig, first, second)
    rig.pool.release(first, rig.now)
    assert rig.pool.versions.newest == "1"
    assert second in rig.pool.due_probes(rig.now)  # what it waits for is here now
    rig.passes(second, "1")
    assert state_of(second) is State.ACTIVE


def test_a_release_beside_a_serving_worker_changes_the_newest_for_nobody() -> None:
    rig = Rig()
    first, second, _serving = pool_at(rig, "1", "2", count=3)
    knocked_out(rig, first, second)
    rig.pool.release(first, rig.now)
    assert rig.pool.versions.newest == "2"
    rig.passes(second, "1")
    assert state_of(second) is State.STALE


@pytest.mark.parametrize("way_out", ["quarantine", "drain", "remove", "refused", "went back"])
def test_stale_workers_are_asked_at_once_when_the_last_routable_one_leaves(way_out: str) -> None:
    rig = Rig()
    ahead, second, third = pool_at(rig, "1", "2", count=3)
    rig.pool.note_fault(ahead, DialFailed("refused"), rig.now)
    rig.passes(ahead, "3", times=2)
    assert state_of(ahead) is State.STALE
    scheduled(rig, ahead, second, third)
    rig.pool.quarantine(second, rig.now)
    assert ahead not in rig.pool.due_probes(rig.now)  # one still serves
    if way_out == "refused":
        rig.pool.note_fault(third, DialFailed("refused"), rig.now)
    elif way_out == "went back":
        rig.passes(third, "1")
    else:
        getattr(rig.pool, way_out)(third, rig.now)
    assert ahead in rig.pool.due_probes(rig.now)
    rig.passes(ahead, "3")
    assert state_of(ahead) is State.ACTIVE
    assert rig.pool.versions.newest == "3"


@pytest.mark.parametrize("count", [1, 2])
def test_answers_that_contradict_the_probes_take_no_worker_out(count: int) -> None:
    rig = Rig()
    workers = pool_at(rig, "1", count=count)
    for worker in workers:
        rig.pool.note_weight_version(worker, "7", rig.now)
    for worker in workers * 2:
        rig.passes(worker, "1")
        assert state_of(worker) is State.ACTIVE
