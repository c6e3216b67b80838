"""A caller's own turns, and the nodes that lead to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core.trajectory import paths
from miles_router.core.trajectory.paths import (
    paths_to,
    paths_to_few,
    session_paths,
    session_turns,
)
from tests.core.trajectory.cases import (
    TENANT,
    A,
    B,
    C,
    D,
    Rig,
    nodes_of,
    path_to,
    trajectory_of,
)
from tests.doubles.toy_tokenizer import EOS

if TYPE_CHECKING:
    import pytest


def test_the_turns_of_a_session_are_those_of_its_trajectories_and_its_orphans() -> None:
    rig = Rig()
    first = rig.answer("q", [A, B], session="s")
    second = rig.answer("qabc", [C], session="s")
    cut = rig.answer("qac", [D], session="s")
    other = rig.answer("qabcc", [D])  # of no session, and continues the second
    rig.answer("q", [A, B], session="r")
    namespace = rig.store.namespaces[TENANT]
    assert other.parent is not None
    assert sorted(t.number for t in session_turns(namespace, "s")) == [1, 2, 3]
    rig.store.evict(trajectory_of(second), "deleted")
    rig.sweep()
    assert set(session_turns(namespace, "s")) == {first, second, cut}
    assert list(session_turns(namespace, "nobody")) == []


def test_paths_are_the_nodes_above_the_turns() -> None:
    rig = Rig()
    turns = [rig.answer("q", ids, session="s") for ids in ([A, B, EOS], [A, C], [D])]
    rig.answer("q", [A, B, C])
    namespace = rig.store.namespaces[TENANT]
    root = namespace.tree.root
    for chosen in (turns, turns[:1], turns[1:], [turns[0], turns[0]]):
        within = paths_to(chosen)
        on_paths = {root, *(node for turn in chosen for node in path_to(turn.node))}
        assert set(within) == on_paths
        for node, below in within.items():
            assert len(below) == len(set(below))
            assert set(below) == {child for child in node.children or () if child in on_paths}
    assert len(on_paths) < 1 + len(nodes_of(namespace.tree))
    assert paths_to([]) == {}


def test_too_many_are_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    turns = [rig.answer("q", ids, session="s") for ids in ([A, B], [A, C], [D])]
    namespace = rig.store.namespaces[TENANT]
    everything = paths_to(turns)
    assert len(everything) == 6
    for most, expected in ((6, everything), (5, None)):
        monkeypatch.setattr(paths, "MAX_NODES", most)
        assert paths_to_few(turns) == expected
        assert session_paths(namespace, "s") == expected
    monkeypatch.setattr(paths, "MAX_NODES", 6)
    rig.store.evict(trajectory_of(turns[0]), "ttl")  # an orphan until it is removed
    for most, is_worth_it in ((3, True), (2, False)):
        monkeypatch.setattr(paths, "MAX_LAST_TURNS", most)
        found = session_paths(namespace, "s")
        assert (found is not None) is is_worth_it
        assert found is None or found.keys() == everything.keys()
    assert session_paths(namespace, "nobody") == {}
