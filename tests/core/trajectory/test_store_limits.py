from __future__ import annotations

import random
from typing import TYPE_CHECKING

from miles_router.core.r3 import MemoryPayload, R3Block
from miles_router.core.trajectory.reading import Missing
from miles_router.core.trajectory.store import TrajectoryStore
from tests.core.trajectory.cases import (
    TENANT,
    A,
    B,
    C,
    D,
    Rig,
    block,
    check_consistent,
    ids_by_use,
    limits,
    mask_of,
    new_turn,
    run_of,
    tokens_of,
    trajectory_of,
)

if TYPE_CHECKING:
    from miles_router.core.trajectory.turn import Turn

# -- holding ---------------------------------------------------------------------------------------


def test_what_a_request_continues_stays_until_it_is_over() -> None:
    rig = Rig(limits(0))
    rig.store.limits = limits()
    turn = rig.answer("q", [A])
    rig.store.hold(turn, 0.0)
    rig.store.hold(turn, 0.0)
    rig.store.evict(trajectory_of(turn), "ttl")
    rig.sweep()
    rig.store.release(turn)
    rig.sweep()
    assert turn.is_stored
    check_consistent(rig.store, [turn])
    later = rig.answer("qab", [C])
    assert (later.parent, later.trajectory) != (None, None)
    rig.store.release(turn)
    rig.sweep()
    assert turn.is_stored  # the later turn continues it
    rig.store.evict(trajectory_of(later), "deleted")
    rig.sweep()
    assert (turn.is_stored, rig.store.size_bytes) == (False, 0)


def test_a_turn_given_up_twice_goes_once() -> None:
    rig = Rig()
    turn = rig.answer("q", [A])
    rig.store.evict(trajectory_of(turn), "ttl")
    rig.store.hold(turn, 0.0)
    rig.store.release(turn)
    rig.sweep()
    assert rig.store.take_removed() == [1]
    check_consistent(rig.store)


def test_what_was_held_goes_for_the_reason_it_was_given_up_for() -> None:
    rig = Rig()
    first, second = rig.answer("q", [A]), rig.answer("x", [A])
    for turn in (first, second):
        rig.store.hold(turn, 0.0)
        rig.store.evict(trajectory_of(turn), "deleted")
    rig.sweep()
    assert rig.store.take_removed() == []
    for turn in (first, second):
        rig.store.release(turn)
    rig.sweep()
    assert rig.store.turns_removed == {"deleted": 2}
    assert rig.missing("qa").gone == "deleted"


def test_a_held_trajectory_is_used() -> None:
    rig = Rig()
    turns = [rig.answer(text, [A]) for text in "xyz"]
    rig.store.hold(turns[0], 7.0)
    assert ids_by_use(rig) == ["t2", "t3", "t1"]
    assert trajectory_of(turns[0]).used_at == 7.0


# -- budgets ---------------------------------------------------------------------------------------


def test_the_trajectory_unused_for_longest_goes_first_and_goes_whole() -> None:
    rig = Rig()
    for text in ("x", "y", "z"):
        rig.answer(text, [A, B])
    rig.answer("xab", [C])
    size = rig.store.size_bytes
    rig.store.limits = limits(size)
    rig.answer("w", [A, B])
    assert ids_by_use(rig) == ["t3", "t1", "t5"]
    assert rig.missing("yab").gone == "evicted"
    assert rig.store.gone.reason(TENANT, "t2") == "evicted"
    rig.answer("v" * 2_000, [A, B])  # more than one of them has to go
    assert rig.store.size_bytes <= size
    assert [rig.look(text) for text in ("zab", "xabc", "xab")] == [Missing(0, "evicted")] * 3
    check_consistent(rig.store)


def test_a_turn_above_the_budget_is_not_kept() -> None:
    rig = Rig(limits(4_000))
    rig.answer("x", [A])
    turn = rig.answer("y" * 4_000, [A])
    assert (turn.is_stored, turn.trajectory) == (False, None)
    assert rig.store.size_bytes <= 4_000
    assert rig.store.take_removed() == [1, 2]
    check_consistent(rig.store)


def test_what_requests_hold_is_not_evicted_for_what_is_new() -> None:
    rig = Rig(limits(10_000))
    turns = []
    for number in range(20):
        turns.append(rig.answer(chr(ord("e") + number), [A]))
        if turns[-1].is_stored:
            rig.store.hold(turns[-1], 0.0)
        assert rig.store.size_bytes <= 10_000
    held = [turn for turn in turns if turn.is_stored]
    assert 2 <= len(held) == rig.store.turns < 10
    assert turns[: len(held)] == held  # those that came when all was held were not kept
    check_consistent(rig.store, held)
    for turn in held:
        rig.store.release(turn)
    assert rig.answer("w", [A]).is_stored
    check_consistent(rig.store)


def test_what_requests_hold_may_be_above_the_budget() -> None:
    rig = Rig(limits(10_000))
    turn = rig.answer("q", [A, B, C, D])
    rig.store.hold(turn, 0.0)
    rig.store.limits = limits(1)
    rig.answer("qax", [A])
    assert (turn.is_stored, rig.store.turns) == (True, 1)
    check_consistent(rig.store, [turn])
    rig.store.release(turn)
    rig.sweep()
    assert rig.store.size_bytes == 0


def test_a_sweep_makes_room_before_it_is_needed() -> None:
    rig = Rig(limits(100_000))
    while not rig.store.is_nearly_full:
        rig.answer(f"{rig.store.turns:05}", [A])
    assert 98_000 < rig.store.size_bytes <= 100_000
    rig.sweep()
    assert 85_000 < rig.store.size_bytes <= 95_000
    assert not rig.store.is_nearly_full


def test_20000_turns_stay_within_the_budget() -> None:
    rng = random.Random(7)
    store = TrajectoryStore(limits(400_000, r3_budget_bytes=500, keep_versions=3))
    turns: list[Turn] = []
    for number in range(20_000):
        turns = [*turns[-200:], store_any(store, rng, number, turns)]
        assert store.size_bytes <= 400_000
        assert store.r3_size_bytes <= 500
        if number % 4_000 == 0:
            check_consistent(store)
            store.sweep_one(float(number))
    check_consistent(store)
    removed = store.take_removed()
    assert len(removed) == len(set(removed)) == 20_000 - store.turns
    assert 0 < store.turns < 1_000


def store_any(store: TrajectoryStore, rng: random.Random, number: int, turns: list[Turn]) -> Turn:
    """Store a turn that may continue, or cut, one of `turns`."""
    parent = rng.choice(turns) if turns and rng.random() < 0.6 else None
    if parent is not None and not parent.is_stored:
        parent = None
    cuts = parent is not None and rng.random() < 0.3
    output = [(rng.randrange(9), rng.choice(["", "a", "b"])) for _ in range(rng.randrange(6))]
    new = new_turn(
        run_of((rng.randrange(9), "p")),
        run_of(*output),
        parent=parent,
        inherited=rng.randrange(parent.end + 1) if parent is not None and cuts else None,
        visible=rng.randrange(len(output) + 1),
        session=rng.choice([None, "s", f"s{number % 50}"]),
        rid=f"r{number % 3_000}",
        version=str(number // 2_000),
        r3=block(rng.randrange(60)) if number % 5 == 0 else None,
    )
    tenant = rng.choice(["t", "u"]) if parent is None else parent.tenant
    return store.add(tenant, new, float(number))


# -- time and versions -----------------------------------------------------------------------------


def test_a_trajectory_goes_after_its_time() -> None:
    rig = Rig(limits(ttl_s=10.0))
    rig.answer("x", [A])
    rig.now = 5.0
    rig.answer("y", [A])
    rig.now = 10.5
    rig.sweep()
    assert ids_by_use(rig) == ["t2"]
    assert rig.missing("xa").gone == "ttl"
    rig.answer("yab", [C])
    rig.now = 20.0
    rig.sweep()
    assert ids_by_use(rig) == ["t2"]
    rig.now = 20.6
    rig.sweep()
    assert rig.store.trajectories == 0
    assert rig.store.turns_removed == {"ttl": 3}


def test_the_newest_versions_are_kept_in_the_order_of_arrival() -> None:
    rig = Rig(limits(keep_versions=2))
    for version in ("default", "7", "v2"):
        rig.answer(version, [A], version=version)
    rig.answer("none", [], version=None)
    rig.sweep()
    assert rig.missing("defaulta").gone == "version"
    assert ids_by_use(rig) == ["t2", "t3", "t4"]
    assert rig.store.note_version("1")
    assert not rig.store.note_version("7")
    rig.sweep()
    assert ids_by_use(rig) == ["t3", "t4"]


def test_an_old_turn_goes_with_the_last_new_one_that_continues_it() -> None:
    rig = Rig(limits(keep_versions=1))
    shared = rig.answer("q", [A, B], version="1")
    forks = [rig.answer(f"qab{name}", [C], version="2") for name in "xy"]
    cut = rig.answer("qax", [C], version="1")
    rig.sweep()
    assert [turn.is_stored for turn in (shared, *forks, cut)] == [True, True, True, False]
    assert mask_of(rig.read("qabxc")) == [0, 1, 1, 0, 1]
    assert [span.weight_version for span in rig.read("qabyc").spans] == [None, "1", None, "2"]
    rig.store.note_version("3")
    rig.sweep()
    assert rig.store.turns == 0
    check_consistent(rig.store)


def test_a_dialogue_whose_last_answer_is_empty_has_the_version_of_the_one_before() -> None:
    rig = Rig(limits(keep_versions=1))
    rig.answer("q", [A], version="1")
    rig.answer("qab", [], version="1")
    rig.store.note_version("2")
    rig.sweep()
    assert rig.store.turns == 0


# -- routed experts --------------------------------------------------------------------------------


def test_routed_experts_of_the_oldest_turns_go_first() -> None:
    rig = Rig(limits(r3_budget_bytes=20))
    turns = [rig.answer(text, [A], r3=block(8)) for text in "xyz"]
    assert [turn.r3 is not None for turn in turns] == [False, True, True]
    assert turns[0].r3_missing == "evicted"
    assert list(rig.store.turns_with_r3()) == turns[1:]
    assert (rig.store.r3_size_bytes, rig.store.r3_removed) == (16, {"evicted": 1})
    assert [payload.size_bytes for payload in rig.store.take_freed()] == [8]
    assert rig.store.take_freed() == []
    assert tokens_of(rig.read("xa")) == [ord("x"), A]
    assert rig.answer("w", [A], r3=block(21)).r3 is None
    check_consistent(rig.store)


def test_a_turn_says_why_its_routed_experts_are_gone() -> None:
    rig = Rig(limits(r3_budget_bytes=20))
    turns = [rig.answer(text, [A], r3=block(8)) for text in "xyz"]
    rig.store.drop_r3(turns[1], "lost")
    assert [turn.r3_missing for turn in turns[:2]] == ["evicted", "lost"]
    assert rig.store.r3_removed == {"evicted": 1, "lost": 1}
    check_consistent(rig.store)


def test_routed_experts_go_with_their_turn() -> None:
    rig = Rig()
    payload = MemoryPayload(bytes(6))
    turn = rig.answer("q", [A], r3=R3Block(0, 6, 1, "|u1", payload))
    assert not rig.store.has_removed
    rig.store.evict(trajectory_of(turn), "ttl")
    rig.sweep()
    assert rig.store.has_removed
    assert rig.store.take_freed() == [payload]
    assert (rig.store.r3_size_bytes, rig.store.r3_removed) == (0, {"ttl": 1})
