"""The set behaves as a set; choosing finds the one that is left."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.policies.worker_set import WorkerSet
from tests.core.rig import bare_worker

WORKERS = [bare_worker(number) for number in range(8)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7))))
def test_it_holds_what_was_added_and_not_discarded(steps: list[tuple[bool, int]]) -> None:
    made, model = WorkerSet(), set()
    for is_added, number in steps:
        worker = WORKERS[number]
        if is_added:
            made.add(worker)
            model.add(worker.id)
        else:
            made.discard(worker)
            model.discard(worker.id)
        assert {member.id for member in made} == model
        assert len(made) == len(model) == len(list(made))
        assert (worker in made) == is_added


def test_an_empty_set_has_no_member_to_choose() -> None:
    assert WorkerSet().choose(random.Random(0), ()) is None


@given(st.integers(0, 99), st.integers(0, 10_000))
def test_the_only_one_that_is_not_excluded_is_found(left: int, seed: int) -> None:
    made = WorkerSet()
    for number in range(100):
        made.add(bare_worker(number))
    exclude = {f"w{number}" for number in range(100)} - {f"w{left}"}
    chosen = made.choose(random.Random(seed), exclude)
    assert chosen is not None
    assert chosen.id == f"w{left}"
    assert made.choose(random.Random(seed), exclude | {f"w{left}"}) is None
