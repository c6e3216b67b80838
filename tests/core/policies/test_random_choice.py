"""Uniform choice, whatever the load."""

from __future__ import annotations

import random
from collections import Counter

from miles_router.core.policies import RandomChoice
from tests.core.rig import bare_worker


def test_every_worker_is_chosen_about_as_often_whatever_it_holds() -> None:
    policy, rng = RandomChoice(), random.Random(3)
    for number in range(4):
        policy.put(bare_worker(number, inflight=number))
    counts = Counter(worker.id for _ in range(4_000) if (worker := policy.select(rng, ())))
    assert len(counts) == 4
    assert all(800 < count < 1_200 for count in counts.values())


def test_without_the_excluded_ones_it_is_still_uniform() -> None:
    policy, rng = RandomChoice(), random.Random(3)
    for number in range(4):
        policy.put(bare_worker(number))
    counts = Counter(
        worker.id for _ in range(2_000) if (worker := policy.select(rng, {"w0", "w3"}))
    )
    assert set(counts) == {"w1", "w2"}
    assert all(800 < count < 1_200 for count in counts.values())
