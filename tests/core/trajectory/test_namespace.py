from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miles_router.core.radix.run import EMPTY
from miles_router.core.trajectory.digest import digest_of
from miles_router.core.trajectory.namespace import Namespace, shows_text
from miles_router.core.trajectory.reading import text_of
from miles_router.core.trajectory.trajectory import Trajectory
from tests.core.trajectory.cases import new_turn, nodes_of, run_of

if TYPE_CHECKING:
    from miles_router.core.trajectory.turn import NewTurn, Turn

Q, A, B, SILENT = run_of((9, "q")), run_of((1, "a")), run_of((2, "b")), run_of((5, ""))
END = run_of((7, "<e>"))


class Turns:
    def __init__(self) -> None:
        self.namespace = Namespace("t")

    def add(self, new: NewTurn) -> Turn:
        return self.namespace.add_turn(new, self.namespace.turns + 1)


def test_a_turn_is_noted_where_its_text_ends_and_where_its_tokens_are() -> None:
    turns = Turns()
    turn = turns.add(new_turn(Q, A + B + END, visible=2))
    other = turns.add(new_turn(Q, A))
    assert turn.visible.answers == (turn,)
    assert turn.node.ends == ()
    assert other.node.answers == (other,)
    makers = {node.run.text: node.makers for node in nodes_of(turns.namespace.tree)}
    assert makers == {b"q": (), b"a": (turn, other), b"b": (turn,), b"<e>": (turn,)}


def test_an_answer_that_shows_nothing_is_noted_apart() -> None:
    turns = Turns()
    empty, silent = turns.add(new_turn(Q)), turns.add(new_turn(Q, SILENT))
    tail, cut = (
        turns.add(new_turn(Q, END, visible=0)),
        turns.add(new_turn(Q, END, visible=0, partial=b"<")),
    )
    assert [shows_text(turn) for turn in (empty, silent, tail, cut)] == [False] * 4
    assert empty.node.ends == (empty, tail)
    assert silent.node.ends == (silent,)
    assert cut.visible is empty.node
    assert not any(node.answers or node.cut_ends for node in nodes_of(turns.namespace.tree))


def test_a_turn_is_found_by_its_text_with_its_tail_and_without() -> None:
    turns = Turns()
    first = turns.add(new_turn(Q, A + B + END, visible=2))
    other = turns.add(new_turn(Q, A + B))
    later = turns.add(new_turn(Q, A + END, parent=first, inherited=3, visible=1, partial=b"<"))
    of = {text: turns.namespace.texts.of(digest_of(text)) for text in (
        b"qab", b"qab<e>", b"qabqa<", b"qabqa", b"qabqa<e>", b"qabqa<e", b"q", b""
    )}  # fmt: skip
    assert {text: found for text, found in of.items() if found} == {
        b"qab": (first, other),
        b"qab<e>": (first,),
        b"qabqa<": (later,),
        b"qabqa<e>": (later,),
    }


def test_a_tail_all_of_which_is_shown_is_noted_once() -> None:
    turns = Turns()
    turn = turns.add(new_turn(Q, A + END, visible=1, partial=b"<e>"))
    assert turn.tail_behind(0) == b"<e>"
    assert len(turns.namespace.texts) == 1
    assert turn.visible.cut_ends == {3: {b"<e>": (turn,)}}


@pytest.mark.parametrize("partial", [b"", b"<"])
def test_a_turn_leaves_nothing_behind(partial: bytes) -> None:
    turns = Turns()
    stays = turns.add(new_turn(Q, A + B + END, visible=2, rid="r"))
    tree = turns.namespace.tree
    texts = turns.namespace.texts
    before = (tree.size_bytes, tree.tokens, tree.nodes, texts.size_bytes, len(texts))
    for new in (
        new_turn(Q, A + B + END, visible=2, partial=partial, rid="r"),
        new_turn(Q, SILENT, rid="x"),
        new_turn(Q + Q, EMPTY),
    ):
        turn = turns.add(new)
        turns.namespace.remove_turn(turn)
        now = (tree.size_bytes, tree.tokens, tree.nodes, texts.size_bytes, len(texts))
        assert now == before
        assert not turn.is_stored
    assert turns.namespace.by_rid == {"r": (stays,)}
    turns.namespace.remove_turn(stays)
    assert (tree.size_bytes, tree.tokens, tree.nodes, turns.namespace.turns) == (0, 0, 0, 0)
    assert turns.namespace.by_rid == {}
    assert (texts.size_bytes, len(texts), turns.namespace.size_bytes) == (0, 0, 0)


def test_orphans_are_listed_by_session() -> None:
    turns = Turns()
    namespace = turns.namespace
    made = [turns.add(new_turn(Q, A, session=session)) for session in ("s", None, "s")]
    for turn in made:
        namespace.add_orphan(turn)
    assert namespace.orphans == {"s": {made[0]: None, made[2]: None}, None: {made[1]: None}}
    for turn in made:
        namespace.remove_orphan(turn)
    assert namespace.orphans == {}


def test_turns_are_found_by_the_request_that_they_are_or_continue() -> None:
    turns = Turns()
    first = turns.add(new_turn(Q, A, rid="1"))
    second = turns.add(new_turn(Q, A, parent=first, rid="2"))
    third = turns.add(new_turn(Q, A, parent=second, rid="1"))
    fork = turns.add(new_turn(Q, B, parent=first))
    other = turns.add(new_turn(Q, B, rid="1"))
    namespace = turns.namespace
    assert namespace.turns_since("1") == [first, second, third, fork, other]
    assert namespace.turns_since("2") == [second, third]
    assert namespace.turns_since("3") == []
    # An older turn is found again when the newest with its request id goes.
    namespace.remove_turn(other)
    namespace.remove_turn(third)
    assert namespace.turns_since("1") == [first, second, fork]
    assert first.later == (second, fork)
    assert second.later == ()


@pytest.mark.parametrize("inherited", range(5))
def test_the_digest_of_a_turn_is_that_of_its_text(inherited: int) -> None:
    turns = Turns()
    first = turns.add(new_turn(Q, A + B + END, visible=2))
    later = turns.add(new_turn(Q, A + END, parent=first, inherited=inherited, visible=1))
    assert first.text_digest == digest_of(b"qab") == digest_of(text_of(first))
    assert later.text_digest == digest_of(text_of(later))
    last = turns.add(new_turn(B, A + END, parent=later, visible=1, partial=b"<"))
    assert last.text_digest == digest_of(text_of(last)[:-1])


def test_trajectories_are_listed_by_id_and_session() -> None:
    turns = Turns()
    namespace = turns.namespace
    made = []
    for name, session in (("x", "s"), ("y", "s"), ("z", None)):
        turn = turns.add(new_turn(Q, A, session=session))
        made.append(Trajectory(name, namespace, turn, 0.0, 0.0))
        namespace.add_trajectory(made[-1])
    assert list(namespace.trajectories) == ["x", "y", "z"]
    assert namespace.of_session == {"s": {"x": made[0], "y": made[1]}}
    for one in made:
        namespace.remove_trajectory(one)
    assert (namespace.trajectories, namespace.of_session) == ({}, {})
