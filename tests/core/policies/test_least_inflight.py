"""The fewest requests in flight win, ties are spread, and the index follows every change."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.policies import LeastInflight
from tests.core.rig import bare_worker

LOADS = st.lists(st.integers(0, 5), min_size=1, max_size=20)


@given(LOADS, st.sets(st.integers(0, 19)), st.integers(0, 1_000))
def test_no_other_selectable_worker_has_fewer(
    loads: list[int], excluded: set[int], seed: int
) -> None:
    policy = LeastInflight()
    workers = [bare_worker(number, inflight=load) for number, load in enumerate(loads)]
    for worker in workers:
        policy.put(worker)
    chosen = policy.select(random.Random(seed), {f"w{number}" for number in excluded})
    left = [worker for number, worker in enumerate(workers) if number not in excluded]
    if chosen is None:
        assert left == []
    else:
        assert chosen.inflight == min(worker.inflight for worker in left)


@given(st.integers(1, 8), st.integers(0, 4))
def test_each_of_the_tied_workers_is_chosen(tied: int, busier: int) -> None:
    policy = LeastInflight()
    for number in range(tied + busier):
        policy.put(bare_worker(number, inflight=1 if number < tied else 2))
    chosen = {
        worker.id
        for seed in range(200)
        if (worker := policy.select(random.Random(seed))) is not None
    }
    assert chosen == {f"w{number}" for number in range(tied)}


def test_ties_are_spread_evenly() -> None:
    policy, rng = LeastInflight(), random.Random(7)
    for number in range(4):
        policy.put(bare_worker(number))
    counts = Counter(worker.id for _ in range(4_000) if (worker := policy.select(rng)))
    assert all(800 < count < 1_200 for count in counts.values())
    assert len(counts) == 4


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.booleans())))
def test_the_index_follows_every_change_and_keeps_nothing_that_is_gone(
    changes: list[tuple[int, int, bool]],
) -> None:
    policy = LeastInflight()
    workers = [bare_worker(number) for number in range(6)]
    present: dict[str, int] = {}
    for number, load, stays in changes:
        worker = workers[number]
        worker.inflight = load
        if stays:
            policy.put(worker)
            present[worker.id] = load
        else:
            policy.drop(worker)
            present.pop(worker.id, None)
        assert policy.lowest() == min(present.values(), default=None)
        assert len(policy) == len(present)
        assert {w.id for w in workers if w in policy} == set(present)


def test_the_heap_does_not_grow_with_the_number_of_requests() -> None:
    policy, worker = LeastInflight(), bare_worker(1)
    busy = bare_worker(2, inflight=3)
    policy.put(busy)
    for _ in range(1_000):
        for load in (0, 1, 2, 1):
            worker.inflight = load
            policy.put(worker)
    assert len(policy._heap) <= 4
