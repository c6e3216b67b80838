"""What every policy keeps to."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.policies import POLICIES, LeastInflight
from tests.core.opcodes import count_opcodes
from tests.core.rig import bare_worker


def test_the_names_are_pinned_and_the_default_is_among_them() -> None:
    assert set(POLICIES) == {"least_inflight", "round_robin", "random"}


@pytest.mark.parametrize("name", POLICIES)
@given(
    inflights=st.lists(st.integers(0, 3), max_size=12),
    dropped=st.sets(st.integers(0, 11)),
    excluded=st.sets(st.integers(0, 11)),
    seed=st.integers(0, 1_000),
)
def test_the_chosen_one_is_selectable_and_not_excluded(
    name: str, inflights: list[int], dropped: set[int], excluded: set[int], seed: int
) -> None:
    policy = POLICIES[name]()
    workers = [bare_worker(number, inflight=count) for number, count in enumerate(inflights)]
    for worker in workers:
        policy.put(worker)
        policy.put(worker)  # the second time changes nothing
    for number, worker in enumerate(workers):
        if number in dropped:
            policy.drop(worker)
            policy.drop(worker)
    left = [n for n in range(len(workers)) if n not in dropped and n not in excluded]
    for _ in range(len(workers) + 1):
        chosen = policy.select(random.Random(seed), {f"w{number}" for number in excluded})
        assert (chosen is None) == (not left)
        assert chosen is None or chosen in [workers[number] for number in left]


@pytest.mark.parametrize("name", POLICIES)
def test_every_worker_has_its_chance(name: str) -> None:
    """Ties never go to the first one."""
    firsts: set[str] = set()
    for seed in range(100):
        policy, rng = POLICIES[name](), random.Random(seed)
        workers = [bare_worker(number) for number in range(5)]
        for worker in workers:
            policy.put(worker)
        chosen = [policy.select(rng, ()) for _ in range(5)]
        assert None not in chosen
        firsts.update(worker.id for worker in chosen if worker is not None)
    assert firsts == {f"w{number}" for number in range(5)}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("exclude", [(), ("w0",), ("w0", "w1", "w2")])
def test_work_does_not_grow_with_the_number_of_workers(name: str, exclude: tuple[str, ...]) -> None:
    def cost(count: int) -> int:
        policy, rng = POLICIES[name](), random.Random(1)
        workers = [bare_worker(number) for number in range(count)]
        for worker in workers:
            policy.put(worker)

        def rounds() -> None:
            for _ in range(50):
                chosen = policy.select(rng, exclude)
                assert chosen is not None
                chosen.inflight += 1
                policy.put(chosen)
                policy.drop(chosen)
                policy.put(chosen)

        return count_opcodes(rounds)

    assert cost(1_000) < 2 * cost(10)


def test_work_does_not_grow_where_every_worker_has_another_load() -> None:
    def cost(count: int) -> int:
        policy, rng = LeastInflight(), random.Random(1)
        workers = [bare_worker(number, inflight=number) for number in range(count)]
        for worker in workers:
            policy.put(worker)

        def rounds() -> None:
            for _ in range(5):
                chosen = policy.select(rng)
                assert chosen is not None
                policy.drop(chosen)

        return count_opcodes(rounds)

    assert cost(1_000) < 2 * cost(10)
