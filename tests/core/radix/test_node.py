from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miles_router.core.radix.children import add_child
from miles_router.core.radix.marks import size_bytes_of
from miles_router.core.radix.node import (
    NO_CUT_ENDS,
    NODE_BYTES,
    Node,
    first_id,
    first_text,
    make_root,
    token_id,
    token_text,
)
from miles_router.core.trajectory.store import TrajectoryStore
from tests.core.trajectory.cases import TENANT, limits, new_turn, run_of

if TYPE_CHECKING:
    from miles_router.core.radix.node import Kind
    from miles_router.core.trajectory.turn import Turn


def child_of(parent: Node, *tokens: tuple[int, str]) -> Node:
    run = run_of(*tokens)
    child = Node(parent, run, parent.end + len(run))
    add_child(parent, child)
    return child


def a_turn() -> Turn:
    return TrajectoryStore(limits()).add(TENANT, new_turn(output=run_of((1, "x"))), 0.0)


def test_a_node_knows_its_place_and_size() -> None:
    root = make_root()
    upper = child_of(root, (1, "a"), (2, ""))
    lower = child_of(upper, (3, "bcd"))
    assert (root.start, root.end) == (0, 0)
    assert (upper.start, upper.end, lower.start, lower.end) == (0, 2, 2, 3)
    assert upper.size_bytes == NODE_BYTES + 2 * 6 + 1
    assert lower.size_bytes == NODE_BYTES + 6 + 3


def test_tokens_of_a_run() -> None:
    run = run_of((70_000, "é"), (2, ""), (3, "xyz"))
    assert (first_id(run), first_text(run)) == (70_000, "é".encode())
    assert [token_id(run, place) for place in range(3)] == [70_000, 2, 3]
    assert token_text(run, 1, 2) == b""
    assert token_text(run, 2, 2) == b"xyz"


@pytest.mark.parametrize("kind", ["makers", "answers", "ends"])
def test_what_is_noted_is_counted(kind: Kind) -> None:
    node, turns = make_root(), [a_turn() for _ in range(40)]
    before = node.size_bytes
    grown = [node.note(kind, turn) for turn in turns]
    assert (grown[0], min(grown[1:]) > 0) == (0, True)
    assert len(set(getattr(node, kind))) == 40
    assert node.size_bytes == before + sum(grown) == before + size_bytes_of(getattr(node, kind))
    struck = [node.strike(kind, turn) for turn in turns]
    assert sum(struck) == -sum(grown)
    assert (node.size_bytes, getattr(node, kind)) == (before, ())


def test_what_ends_inside_a_token_is_counted() -> None:
    node, turns = make_root(), [a_turn() for _ in range(6)]
    notes = [b"a", b"a", b"b", b"b", b"bc", b""]
    before = node.size_bytes
    grown = [node.note_cut(note, turn) for note, turn in zip(notes, turns, strict=True)]
    assert node.size_bytes == before + sum(grown)
    assert set(node.cut_ends[1][b"a"]) == set(turns[:2])
    assert node.cut_ends[2] == {b"bc": (turns[4],)}
    for note, turn in zip(notes, turns, strict=True):
        node.strike_cut(note, turn)
    assert node.size_bytes == before
    assert node.cut_ends is NO_CUT_ENDS
    assert NO_CUT_ENDS == {}


def test_a_part_of_a_node_has_its_makers() -> None:
    node, part, turn = make_root(), make_root(), a_turn()
    node.note("makers", turn)
    part.share_makers(node)
    assert part.makers == (turn,)
    assert part.size_bytes == node.size_bytes
    part.strike("makers", turn)
    assert node.makers == (turn,)
