from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miles_router.core.radix.run import EMPTY, TokenRun
from miles_router.core.radix.tree import run_between
from miles_router.core.trajectory.reading import Missing, Reading, read_turn, text_of
from miles_router.core.trajectory.store import TrajectoryStore
from miles_router.core.trajectory.trajectory import chain_of
from tests.core.trajectory.cases import (
    AB,
    TENANT,
    A,
    B,
    C,
    D,
    Rig,
    X,
    check_consistent,
    ids_by_use,
    limits,
    mask_of,
    new_turn,
    tokens_of,
    trajectory_of,
    turns_in,
)
from tests.doubles.toy_tokenizer import EOS

if TYPE_CHECKING:
    from miles_router.core.trajectory.turn import Turn

# -- trajectories ----------------------------------------------------------------------------------


def test_a_turn_that_continues_the_last_one_is_the_last_one() -> None:
    rig = Rig()
    first = rig.answer("q", [A, EOS], session="s")
    one = trajectory_of(first)
    second = rig.answer("qab", [C], session="s")
    assert (second.trajectory, one.tip, first.trajectory) == (one, second, None)
    assert (rig.store.trajectories, rig.store.turns, one.id) == (1, 2, "t1")
    check_consistent(rig.store)


def test_what_does_not_continue_a_whole_answer_is_a_trajectory_of_its_own() -> None:
    rig = Rig()
    first = rig.answer("q", [A, B], session="s")
    rig.answer("qac", [C], session="s")  # it cut the answer
    rig.answer("qabc", [C], session="s")  # it continues it
    rig.answer("qabd", [C], session="s")  # it continues a turn that is not the last one any more
    rig.answer("qabc", [C], session=None)  # another session
    assert rig.store.trajectories == 4
    assert first.trajectory is None
    assert [t.tip.number for t in rig.store.namespaces[TENANT].trajectories.values()] == [
        3,
        2,
        4,
        5,
    ]
    check_consistent(rig.store)


def test_a_fork_keeps_what_both_share_until_both_are_gone() -> None:
    rig = Rig()
    first = rig.answer("q", [A, B])
    fork = rig.answer("qac", [D])
    rig.store.evict(trajectory_of(first), "deleted")
    rig.sweep()
    assert (first.is_stored, rig.store.turns) == (True, 2)
    assert tokens_of(rig.read("qacd")) == [ord("q"), A, C, D]
    assert mask_of(rig.read("qacd")) == [0, 1, 0, 1]
    rig.store.evict(trajectory_of(fork), "deleted")
    rig.sweep()
    assert (first.is_stored, rig.store.size_bytes) == (False, 0)
    check_consistent(rig.store)


def test_the_last_turn_of_what_was_given_up_is_an_orphan_while_others_continue_it() -> None:
    rig = Rig()
    first = rig.answer("q", [A, B])
    later = rig.answer("qabc", [C])
    fork = rig.answer("qabx", [D])
    orphans = rig.store.namespaces[TENANT].orphans
    rig.store.evict(trajectory_of(fork), "ttl")
    assert orphans == {None: {fork: None}}  # until it is removed
    rig.sweep()
    assert (orphans, rig.store.take_orphaned()) == ({}, [])  # the later turn goes on
    fork = rig.answer("qabx", [D])
    rig.store.evict(trajectory_of(later), "deleted")
    assert rig.store.has_removed
    assert rig.store.take_orphaned() == [later.number]
    rig.sweep()
    assert orphans == {None: {first: None}}
    assert (rig.store.take_orphaned(), rig.store.take_orphaned()) == ([first.number], [])
    check_consistent(rig.store)
    rig.store.hold(first, 0.0)
    rig.store.evict(trajectory_of(fork), "deleted")
    rig.sweep()
    assert (orphans, rig.store.take_orphaned()) == ({None: {first: None}}, [])
    again = rig.answer("qaby", [D])
    assert trajectory_of(again).id == f"t{again.number}"  # an orphan stays one
    rig.store.release(first)
    rig.sweep()
    assert orphans == {None: {first: None}}
    rig.store.evict(trajectory_of(again), "deleted")
    rig.sweep()
    assert (orphans, rig.store.take_orphaned(), rig.store.turns) == ({}, [], 0)
    check_consistent(rig.store)


def test_what_others_hold_of_a_session_is_still_the_sessions_own() -> None:
    rig = Rig()
    first = rig.answer("q", [A, B], session="s")
    rig.answer("qabc", [D])  # of no session: it goes on with what it finds
    rig.store.evict(trajectory_of(first), "deleted")
    rig.sweep()
    assert tokens_of(rig.read("qab", session="s")) == [ord("q"), A, B]
    assert tokens_of(rig.read("q", session="s")) == [ord("q")]
    assert rig.find("qabx", "s").parent is first
    assert rig.read("qabx", session="s").rest == b"x"


def test_an_orphan_of_an_earlier_run_is_one_again() -> None:
    rig = Rig()
    first = rig.answer("q", [A, B])
    fork = rig.answer("qac", [D])
    identity = trajectory_of(first).id
    rig.store.orphan(first)
    rig.store.orphan(first)
    assert rig.store.gone.reason(TENANT, identity) is None
    rig.sweep()
    assert (ids_by_use(rig), rig.store.turns) == ([trajectory_of(fork).id], 2)
    rig.store.orphan(fork)
    rig.sweep()
    assert (rig.store.turns, rig.store.size_bytes) == (0, 0)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_several_trajectories_with_one_beginning_may_go_at_once(order: tuple[int, int]) -> None:
    rig = Rig()
    turns = [rig.answer("q", [A, B]), rig.answer("qac", [D])]
    for place in order:
        rig.store.evict(trajectory_of(turns[place]), "deleted")
    rig.sweep()
    assert sorted(rig.store.take_removed()) == [1, 2]
    assert rig.store.turns_removed == {"deleted": 2}
    check_consistent(rig.store)


def test_tenants_have_stores_of_their_own() -> None:
    rig = Rig()
    turns = [rig.answer("q", [A], tenant=tenant) for tenant in ("one", "two")]
    assert rig.store.namespace("three") is None
    assert rig.store.tokens == 4
    rig.store.evict(trajectory_of(turns[0]), "deleted")
    rig.sweep()
    assert rig.missing("qa", tenant="one").gone == "deleted"
    assert tokens_of(rig.read("qa", tenant="two")) == [ord("q"), A]
    assert rig.store.gone.reason("two", "t1") is None
    check_consistent(rig.store)


# -- steps, and restarts ---------------------------------------------------------------------------


def test_a_long_dialogue_goes_in_small_steps() -> None:
    rig = Rig()
    turn = None
    for _ in range(300):
        turn = rig.store.add(TENANT, new_turn(X, X, parent=turn), 0.0)
    assert turn is not None
    rig.store.evict(trajectory_of(turn), "ttl")
    steps = 0
    while rig.store.sweep_one(0.0):
        steps += 1
        assert rig.store.turns == 300 - steps
    assert rig.store.take_removed() == list(range(300, 0, -1))
    assert not rig.store.remove_one()


def restored(turns: list[tuple[Turn, str]]) -> Rig:
    """A store from a log: turns in order, each with the trajectory it was put into."""
    rig = Rig()
    rig.store = TrajectoryStore(limits(), id_prefix="new-")
    known: dict[int, Turn] = {}
    for turn, identity in turns:
        before = turn.visible.end - turn.prompt_end
        path = read_turn(turn)
        whole = run_of_turn(turn)
        new = new_turn(
            whole.cut(turn.inherited, turn.prompt_end),
            whole.cut(turn.prompt_end, turn.end),
            parent=None if turn.parent is None else known[turn.parent.number],
            inherited=turn.inherited,
            visible=before,
            partial=turn.partial,
            session=turn.session,
            rid=turn.rid,
            logprob=float(path.logprobs[-1]) if turn.generated_tokens else 0.0,
        )
        known[turn.number] = rig.store.add(
            turn.tenant, new, 0.0, number=turn.number, trajectory_id=identity
        )
    return rig


def run_of_turn(turn: Turn) -> TokenRun:
    return run_between(turn.node, 0, turn.end)


def test_a_log_in_order_gives_the_same_readings() -> None:
    rig = Rig()
    log: list[tuple[Turn, str]] = []
    for text, output, shown, session in [
        ("q", [A, B, EOS], None, "s"),
        ("q", [AB], None, None),
        ("qab<e>c", [D, EOS], None, "s"),
        ("qabx", [C, AB], "ca", "s"),
        ("qac", [D], None, "s"),
        ("qabxcab", [], None, "s"),
    ]:
        turn = rig.answer(text, output, shown=shown, session=session, rid=f"r{len(log)}")
        log.append((turn, trajectory_of(turn).id))
    again = restored(log)
    assert again.store.size_bytes == rig.store.size_bytes
    assert ids_by_use(again) == ids_by_use(rig)
    for turn, _ in log:
        text = text_of(turn).decode()
        for asked in (text, text + "z", text[:-1]):
            for session, rid in ((None, None), (turn.session, None), (None, turn.rid)):
                one, other = (each.look(asked, session, rid) for each in (rig, again))
                if isinstance(one, Missing):
                    assert one == other
                    continue
                assert isinstance(other, Reading)
                assert tokens_of(one) == tokens_of(other)
                assert (one.spans, one.candidates, one.rest, one.rids) == (
                    (other.spans, other.candidates, other.rest, other.rids)
                )
                assert one.logprobs.tobytes() == other.logprobs.tobytes()
    assert again.answer("new", [A]).number == 7
    assert ids_by_use(again)[-1] == "new-7"
    check_consistent(again.store)


def test_numbers_go_on_after_the_last_one() -> None:
    rig = Rig()
    assert rig.store.add(TENANT, new_turn(X), 0.0, number=5).number == 5
    rig.store.continue_after(9)
    assert rig.store.add(TENANT, new_turn(X), 0.0).number == 10
    rig.store.continue_after(3)
    assert rig.store.add(TENANT, new_turn(X), 0.0).number == 11


def test_one_id_never_names_two_trajectories() -> None:
    rig = Rig()
    first = rig.store.add(TENANT, new_turn(X, X), 0.0, number=1, trajectory_id="x")
    other = rig.store.add("other", new_turn(X, X), 0.0, number=2, trajectory_id="x")
    later = rig.store.add(TENANT, new_turn(X, parent=first), 0.0, number=3, trajectory_id="y")
    assert [trajectory_of(turn).id for turn in (first, other, later)] == ["x", "t2", "y"]
    check_consistent(rig.store)


def test_a_store_of_nothing() -> None:
    rig = Rig()
    assert not rig.store.sweep_one(0.0)
    assert (rig.store.turns, rig.store.tokens, rig.store.trajectories) == (0, 0, 0)
    turn = rig.store.add(TENANT, new_turn(EMPTY, EMPTY), 0.0)
    assert (turn.end, turns_in(rig.store), chain_of(turn)) == (0, {turn}, [turn])
    rig.store.evict(trajectory_of(turn), "deleted")
    rig.sweep()
    assert (rig.store.turns, rig.store.size_bytes) == (0, 0)
    check_consistent(rig.store)
