from __future__ import annotations

from miles_router.core.trajectory.trajectory import Trajectory, chain_of
from tests.core.trajectory.cases import TENANT, Rig, new_turn, run_of

A = run_of((1, "a"))


def test_a_trajectory_is_what_its_last_turn_is() -> None:
    rig = Rig()
    first = rig.store.add(TENANT, new_turn(A, A, session="s", version="7"), 1.0)
    assert first.trajectory is not None
    one = first.trajectory
    assert (one.id, one.session, one.weight_version) == ("t1", "s", "7")
    rig.store.add(TENANT, new_turn(A, A, parent=first, session="s", version="v2"), 2.0)
    assert (one.weight_version, one.created_at, one.used_at) == ("v2", 1.0, 2.0)


def test_an_answer_without_tokens_leaves_the_version_of_the_tokens_before() -> None:
    rig = Rig()
    first = rig.store.add(TENANT, new_turn(A, A, version="7"), 0.0)
    last = rig.store.add(TENANT, new_turn(A, parent=first), 0.0)
    assert last.trajectory is not None
    assert last.trajectory.weight_version == "7"
    unknown = rig.store.add(TENANT, new_turn(A, A, parent=last, version=None), 0.0)
    assert unknown.weight_version is None
    assert rig.store.add(TENANT, new_turn(A), 0.0).weight_version is None


def test_a_chain_begins_with_the_first_turn() -> None:
    rig = Rig()
    turns = [rig.store.add(TENANT, new_turn(A, A), 0.0)]
    for _ in range(3):
        turns.append(rig.store.add(TENANT, new_turn(A, A, parent=turns[-1]), 0.0))
    assert chain_of(turns[-1]) == turns
    assert chain_of(turns[0]) == turns[:1]


def test_two_trajectories_are_never_equal() -> None:
    rig = Rig()
    turn = rig.store.add(TENANT, new_turn(A, A), 0.0)
    one, other = (Trajectory("x", rig.store.namespaces[TENANT], turn, 0.0, 0.0) for _ in "12")
    assert one != other
