from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.radix.children import (
    LISTED_CHILDREN,
    Fanout,
    add_child,
    child_beginning,
    children_that_may_follow,
    children_with_id,
    remove_child,
    replace_child,
)
from miles_router.core.radix.node import Node, first_id, first_text, make_root
from tests.core.trajectory.cases import run_of

TOKENS = [(token, text) for token in range(5) for text in ("", "a", "b", "ab", "ba", "aa", "abb")]


def child_of(parent: Node, *tokens: tuple[int, str]) -> Node:
    run = run_of(*tokens)
    child = Node(parent, run, parent.end + len(run))
    add_child(parent, child)
    return child


@given(
    order=st.permutations(TOKENS),
    count=st.integers(0, len(TOKENS)),
    gone=st.sets(st.integers(0, 40)),
    text=st.text("ab", max_size=4),
    position=st.integers(0, 4),
)
def test_many_children_are_found_like_a_few(order, count, gone, text, position) -> None:  # type: ignore[no-untyped-def]
    root, firsts = make_root(), order[:count]
    children = {first: child_of(root, first, (9, "z")) for first in firsts}
    for place, first in enumerate(firsts):
        if place in gone:
            remove_child(root, children.pop(first))
    assert set(root.children or ()) == set(children.values())
    assert (root.children is None) == (not children)
    for token in range(5):
        begun = {node for (one, _), node in children.items() if one == token}
        assert set(children_with_id(root, token)) == begun
        for shown in ("", "a", "ab", "bb"):
            assert child_beginning(root, token, shown.encode()) is children.get((token, shown))
    follow = {n for (_, shown), n in children.items() if text[position:].startswith(shown)}
    found = list(children_that_may_follow(root, text.encode(), position))
    assert len(found) == len(set(found))
    if isinstance(root.children, Fanout) and position <= len(text):
        assert set(found) == follow
    assert follow <= set(found) or position > len(text)


def test_the_cost_of_many_children_is_that_of_their_lengths() -> None:
    root = make_root()
    for number in range(10_000):
        child_of(root, (number, f"{number:05}"))
    asked = list(children_that_may_follow(root, b"x00042y", 1))
    assert [first_id(node.run) for node in asked] == [42]
    assert list(children_that_may_follow(root, b"x0004", 1)) == []


def test_first_tokens_with_long_texts_do_not_cost_a_try_for_each_length() -> None:
    root = make_root()
    lumps = [child_of(root, (7, f"{number % 10}" * 40 + "x" * number)) for number in range(500)]
    assert isinstance(root.children, Fanout)
    assert root.children._lengths == {}
    text = b"3" * 40 + b"x" * 200
    found = set(children_that_may_follow(root, text, 0))
    follow = {node for node in lumps if text.startswith(first_text(node.run))}
    assert follow < found
    assert len(found) == 50
    assert child_beginning(root, 7, first_text(lumps[42].run)) is lumps[42]
    for node in lumps:
        remove_child(root, node)
    assert root.children is None


@pytest.mark.parametrize("others", [0, 3, 2 * LISTED_CHILDREN])
def test_a_node_takes_the_place_of_one_that_begins_alike(others: int) -> None:
    root = make_root()
    old = child_of(root, (1, "a"), (2, "b"))
    for number in range(others):
        child_of(root, (100 + number, "x"))
    new = Node(root, run_of((1, "a")), 1)
    replace_child(root, old, new)
    assert child_beginning(root, 1, b"a") is new
    assert old not in set(root.children or ())
    assert len(set(root.children or ())) == others + 1
