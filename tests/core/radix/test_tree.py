from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from miles_router.core.radix.run import EMPTY, TokenRun, join
from miles_router.core.radix.tree import (
    Tree,
    run_between,
    shared_bytes,
    shared_tokens,
)
from tests.core.trajectory.cases import nodes_of, path_to, run_of

if TYPE_CHECKING:
    import pytest

    from miles_router.core.radix.node import Node

# Few ids and texts, so that runs begin alike; one id may show several texts.
TOKENS = st.tuples(st.integers(1, 3), st.sampled_from(["", "a", "ab", "é"]))
RUNS = st.lists(TOKENS, max_size=7)


def tokens_of(run: TokenRun) -> list[tuple[int, str]]:
    found, position = [], 0
    for token, length in zip(run.id_array.tolist(), run.length_array.tolist(), strict=True):
        found.append((token, run.text[position : position + length].decode()))
        position += length
    return found


def held(tree: Tree, run: TokenRun, behind: Node | None = None) -> Node:
    node = tree.extend(behind or tree.root, run)
    node.holds += 1
    return node


def check_sums(tree: Tree) -> None:
    nodes = nodes_of(tree)
    assert tree.nodes == len(nodes)
    assert tree.tokens == sum(len(node.run) for node in nodes)
    assert tree.size_bytes == sum(node.size_bytes for node in nodes)
    for node in [tree.root, *nodes]:
        firsts = [tokens_of(child.run)[0] for child in node.children or ()]
        assert len(firsts) == len(set(firsts))


@given(runs=st.lists(RUNS, max_size=8), kept=st.sets(st.integers(0, 8)))
def test_paths_are_what_was_put_in_and_go_when_released(runs, kept) -> None:  # type: ignore[no-untyped-def]
    tree = Tree()
    nodes = [held(tree, run_of(*run)) for run in runs]
    check_sums(tree)
    for run, node in zip(runs, nodes, strict=True):
        assert tokens_of(run_between(node, 0, node.end)) == run
        assert node.end == len(run)
    distinct = {tuple(run[:size]) for run in runs for size in range(1, len(run) + 1)}
    assert tree.tokens == len(distinct)
    for place, node in enumerate(nodes):
        if place not in kept:
            tree.release(node)
            check_sums(tree)
    left = [run for place, run in enumerate(runs) if place in kept]
    # A node that was split stays split, but no token stays that nothing needs.
    assert tree.tokens == len({tuple(r[:size]) for r in left for size in range(1, len(r) + 1)})
    for place, node in enumerate(nodes):
        if place in kept:
            assert tokens_of(run_between(node, 0, node.end)) == runs[place]
            tree.release(node)
    assert (tree.size_bytes, tree.tokens, tree.nodes) == (0, 0, 0)
    assert tree.root.children is None


@given(runs=st.lists(RUNS, min_size=1, max_size=5), cuts=st.lists(st.integers(0, 7), max_size=8))
def test_a_node_can_be_had_at_each_depth(runs, cuts) -> None:  # type: ignore[no-untyped-def]
    tree = Tree()
    nodes = [held(tree, run_of(*run)) for run in runs]
    for place, cut in enumerate(cuts):
        node = nodes[place % len(nodes)]
        depth = min(cut, node.end)
        at = tree.node_at(node, depth)
        assert at.end == depth
        assert at is tree.root or at in path_to(node)
        check_sums(tree)
        # A node stays the one it was, whatever is split above it.
        assert tree.node_at(node, node.end) is node
        assert tokens_of(run_between(node, 0, node.end)) == runs[place % len(nodes)]


@given(run=RUNS, more=RUNS, start=st.integers(0, 14), size=st.integers(0, 14))
def test_any_part_of_a_path_can_be_had(run, more, start, size) -> None:  # type: ignore[no-untyped-def]
    tree = Tree()
    node = held(tree, run_of(*more), held(tree, run_of(*run)))
    whole = run + more
    end = min(start + size, len(whole))
    assert tokens_of(run_between(node, start, end)) == whole[start:end]


@given(left=RUNS, right=RUNS, before=RUNS)
@example(left=[(1, "a"), (2, "")], right=[(1, "b"), (2, "")], before=[])
@example(left=[(1, "a"), (2, "")], right=[(1, ""), (2, "a")], before=[])
@example(left=[(1, ""), (2, "a")], right=[(1, ""), (2, "b")], before=[(1, "é")])
def test_how_many_tokens_begin_alike(left, right, before) -> None:  # type: ignore[no-untyped-def]
    pairs = zip(left, right, strict=False)
    expected = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
    prefix = run_of(*before)
    whole = join((prefix, run_of(*right)))
    found = shared_tokens(run_of(*left), whole, len(prefix), len(prefix.text))
    assert found == expected


@given(edge=st.text("ab", max_size=9), text=st.text("ab", max_size=12), position=st.integers(0, 13))
def test_how_many_bytes_begin_alike(edge: str, text: str, position: int) -> None:
    rest = text[position:]
    pairs = zip(edge, rest, strict=False)
    expected = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(edge), len(rest)))
    assert shared_bytes(edge.encode(), text.encode(), position) == expected


def test_equal_ids_that_show_other_text_are_two_branches() -> None:
    tree = Tree()
    shown = held(tree, run_of((1, "a"), (263, "<e>"), (2, "b")))
    left_out = held(tree, run_of((1, "a"), (263, ""), (2, "b")))
    assert tree.tokens == 5
    assert (run_between(shown, 0, 3).text, run_between(left_out, 0, 3).text) == (b"a<e>b", b"ab")


def test_nothing_is_no_path() -> None:
    tree = Tree()
    assert tree.extend(tree.root, EMPTY) is tree.root
    assert tree.node_at(tree.root, 0) is tree.root
    assert (path_to(tree.root), run_between(tree.root, 0, 9)) == ([], EMPTY)


def test_a_path_of_thousands_of_nodes() -> None:
    tree = Tree()
    node = tree.root
    for number in range(20_000):
        node = held(tree, run_of((number, "x")), node)
    assert len(path_to(node)) == 20_000
    whole = run_between(node, 0, node.end)
    assert whole.text == b"x" * 20_000
    assert tree.extend(tree.root, whole) is node
    for step in reversed(path_to(node)):
        tree.release(step)
    assert (tree.size_bytes, tree.nodes) == (0, 0)


def test_a_long_run_is_not_copied_for_each_node_that_it_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = Tree()
    node = tree.root
    for number in range(1_000):
        node = held(tree, run_of((number, "x")), node)
    whole = join((run_between(node, 0, 1_000), run_of((1_000, "y"), (1_001, "z"))))
    copied = []
    cut = TokenRun.cut

    def counted(run: TokenRun, start: int, end: int) -> TokenRun:
        copied.append(end - start)
        return cut(run, start, end)

    monkeypatch.setattr(TokenRun, "cut", counted)
    assert tree.extend(tree.root, whole).end == 1_002
    assert sum(copied) == 2
