"""Everyone in turn."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.policies import RoundRobin
from tests.core.rig import bare_worker

RNG = random.Random(0)


def chosen(policy: RoundRobin, *exclude: str) -> str | None:
    worker = policy.select(RNG, exclude)
    return None if worker is None else worker.id


@given(st.integers(1, 10), st.integers(0, 50))
def test_after_any_number_of_requests_no_worker_is_more_than_one_ahead(
    count: int, requests: int
) -> None:
    policy = RoundRobin()
    for number in range(count):
        policy.put(bare_worker(number))
    counts = Counter({f"w{number}": 0 for number in range(count)})
    counts.update(worker_id for _ in range(requests) if (worker_id := chosen(policy)))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_the_order_is_that_of_the_workers() -> None:
    policy = RoundRobin()
    for number in range(3):
        policy.put(bare_worker(number))
    assert [chosen(policy) for _ in range(5)] == ["w0", "w1", "w2", "w0", "w1"]


def test_a_change_of_inflight_does_not_cost_a_worker_its_turn() -> None:
    policy = RoundRobin()
    workers = [bare_worker(number) for number in range(3)]
    for worker in workers:
        policy.put(worker)
    assert chosen(policy) == "w0"
    workers[1].inflight = 5
    policy.put(workers[1])
    assert [chosen(policy), chosen(policy), chosen(policy)] == ["w1", "w2", "w0"]


def test_an_excluded_worker_keeps_its_turn() -> None:
    policy = RoundRobin()
    for number in range(3):
        policy.put(bare_worker(number))
    assert chosen(policy, "w0") == "w1"
    assert [chosen(policy), chosen(policy), chosen(policy)] == ["w0", "w2", "w1"]
