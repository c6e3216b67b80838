"""Which rows of which turns make up a trajectory."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.r3 import R3Piece, covers, plan_rows, splice, start_to_ask
from tests.core.r3.rows import WIDTH, block, piece

if TYPE_CHECKING:
    from collections.abc import Sequence


def marks(chain: Sequence[R3Piece], num_tokens: int) -> list[int] | None:
    """Which turn each row is from; the rows themselves are checked to be in their places."""
    rows = splice(chain, num_tokens=num_tokens)
    if rows is None:
        return None
    assert [row for _, row in rows.tolist()] == list(range(max(num_tokens - 1, 0)))
    return [mark for mark, _ in rows.tolist()]


ONE = piece((0, 9), 0, 10, 1)


@pytest.mark.parametrize(
    ("chain", "num_tokens", "expected"),
    [
        ([ONE], 10, [1] * 9),
        ([ONE], 7, [1] * 6),
        ([ONE], 11, None),  # a token that no worker has seen
        ([ONE], 2, [1]),
        ([piece((1, 9), 0, 10)], 10, None),  # the client asked for less
        ([piece((0, 8), 0, 10)], 10, None),
        ([piece(None, 0, 10)], 10, None),
        ([], 10, None),
        # a delta: the row of the last inherited token is the child's, its parent has none
        ([ONE, piece((9, 14), 10, 15, 2)], 15, [1] * 9 + [2] * 5),
        ([ONE, piece((10, 14), 10, 15, 2)], 15, None),
        # asked for all: what the parent has is the parent's
        ([ONE, piece((0, 14), 10, 15, 2)], 15, [1] * 9 + [2] * 5),
        ([ONE, piece((4, 14), 10, 15, 2)], 15, [1] * 9 + [2] * 5),
        # the child left the parent at token 6: row 5 was on the way to another token
        ([ONE, piece((0, 14), 6, 15, 2)], 15, [1] * 5 + [2] * 9),
        ([ONE, piece((5, 14), 6, 15, 2)], 15, [1] * 5 + [2] * 9),
        ([ONE, piece((6, 14), 6, 15, 2)], 15, None),
        # nothing in common
        ([ONE, piece((0, 14), 0, 15, 2)], 15, [2] * 14),
        ([ONE, piece((0, 14), 1, 15, 2)], 15, [2] * 14),
        # a hole is filled by a later turn that has the row
        ([piece(None, 0, 10), piece((0, 14), 10, 15, 2)], 15, [2] * 14),
        ([piece((4, 9), 0, 10, 1), piece((0, 14), 10, 15, 2)], 15, [2] * 4 + [1] * 5 + [2] * 5),
        # a grandparent's rows end where a later turn left it
        (
            [ONE, piece((9, 14), 10, 15, 2), piece((4, 19), 5, 20, 3)],
            20,
            [1] * 4 + [3] * 15,
        ),
        (
            [ONE, piece((9, 14), 10, 15, 2), piece((11, 19), 12, 20, 3)],
            20,
            [1] * 9 + [2] * 2 + [3] * 8,
        ),
        # a turn without rows at all between two others
        ([ONE, piece(None, 10, 15), piece((14, 19), 15, 20, 3)], 20, None),
        ([ONE, piece(None, 10, 15), piece((9, 19), 15, 20, 3)], 20, [1] * 9 + [3] * 10),
        # what a block has behind its turn's end is not believed
        ([piece((0, 12), 0, 10, 1)], 12, None),
        ([piece((0, 12), 0, 10, 1), piece((9, 14), 12, 15, 2)], 15, [1] * 9 + [2] * 5),
    ],
)
def test_whose_rows_they_are(
    chain: list[R3Piece], num_tokens: int, expected: list[int] | None
) -> None:
    assert marks(chain, num_tokens) == expected
    assert covers(chain, num_tokens - 1) is (expected is not None)


@pytest.mark.parametrize("num_tokens", [-1, 0, 1])
def test_a_trajectory_of_one_token_has_no_rows_and_is_complete(num_tokens: int) -> None:
    for chain, width in (([], 0), ([piece(None, 0, 5)], 0), ([ONE], WIDTH)):
        rows = splice(chain, num_tokens=num_tokens)
        assert rows is not None
        assert rows.shape == (0, width)


@dataclass(frozen=True)
class Story:
    """A chain of turns with their tokens, which never occur twice unless inherited."""

    tokens: list[list[int]]
    chain: list[R3Piece]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    fresh = itertools.count()
    tokens: list[list[int]] = []
    chain: list[R3Piece] = []
    for turn in range(draw(st.integers(1, 6))):
        parent = tokens[-1] if tokens else []
        inherited = draw(st.integers(0, len(parent)) | st.just(len(parent)))
        own = inherited + draw(st.integers(0 if inherited else 1, 5))
        tokens.append(parent[:inherited] + [next(fresh) for _ in range(own - inherited)])
        start = draw(st.integers(0, own - 1) | st.sampled_from([0, max(inherited - 1, 0)]))
        start = min(start, own - 1)
        rows = draw(st.sampled_from([(start, own - 1), (start, own - 1), None]))
        chain.append(piece(rows, inherited, own, turn))
    return Story(tokens, chain)


def rows_by_tokens(story: Story, num_tokens: int) -> list[int] | None:
    """The oracle: a turn's row counts where all tokens up to the one it led to are the same."""
    whole = story.tokens[-1][:num_tokens]
    owners = []
    for row in range(num_tokens - 1):
        having = [
            turn
            for turn, (tokens, piece) in enumerate(zip(story.tokens, story.chain, strict=True))
            if piece.block is not None
            and piece.block.start <= row < piece.block.start + piece.block.rows
            and tokens[: row + 2] == whole[: row + 2]
            and len(whole) >= row + 2
        ]
        if not having:
            return None
        owners.append(having[0])
    return owners


@given(stories(), st.data())
def test_rows_are_those_of_the_first_turn_with_the_same_tokens(
    story: Story, data: st.DataObject
) -> None:
    num_tokens = data.draw(st.integers(0, story.chain[-1].end + 1) | st.just(story.chain[-1].end))
    expected = rows_by_tokens(story, num_tokens)
    assert marks(story.chain, num_tokens) == expected
    plan = plan_rows(story.chain, num_tokens)
    if plan:
        assert plan[0].start == 0
        assert all(a.start + a.rows == b.start for a, b in itertools.pairwise(plan))
        assert sum(part.rows for part in plan) == num_tokens - 1


@given(stories(), st.data())
def test_a_turn_with_the_rows_it_should_ask_for_is_complete(
    story: Story, data: st.DataObject
) -> None:
    matched = data.draw(st.integers(0, story.chain[-1].end))
    start = start_to_ask(story.chain, matched)
    end = matched + 3
    child = piece((start, end - 1), matched, end, 99)
    assert marks([*story.chain, child], end) is not None
    assert start in {0, max(matched - 1, 0)}
    if start == 0 and matched > 1:  # then less would not have been enough
        short = piece((matched - 1, end - 1), matched, end, 99)
        assert marks([*story.chain, short], end) is None


@pytest.mark.parametrize(
    ("chain", "matched", "start"),
    [
        ([], 0, 0),
        ([], 8, 0),
        ([ONE], 0, 0),
        ([ONE], 1, 0),
        ([ONE], 2, 1),
        ([ONE], 10, 9),
        ([ONE], 11, 0),  # more than the turn has
        ([piece(None, 0, 10)], 10, 0),
        ([piece((3, 9), 0, 10)], 10, 0),
        ([ONE, piece(None, 10, 15)], 15, 0),
        ([ONE, piece(None, 10, 15)], 10, 9),
        ([ONE, piece(None, 10, 15)], 11, 0),
        ([ONE, piece((9, 14), 10, 15)], 15, 14),
    ],
)
def test_what_to_ask_for(chain: list[R3Piece], matched: int, start: int) -> None:
    assert start_to_ask(chain, matched) == start


def test_rows_of_two_models_do_not_go_together() -> None:
    chain = [R3Piece(block(0, 9), 0, 10), R3Piece(block(9, 14, width=3), 10, 15)]
    assert plan_rows(chain, 15) is None
    assert plan_rows([*chain[:1], R3Piece(block(0, 14, width=3), 1, 15)], 15) is not None


def test_a_dialogue_of_thousands_of_turns() -> None:
    turns = 5_000
    chain = [R3Piece(block(0, 9, dtype="<i4"), 0, 10)]
    chain += [
        R3Piece(block(10 * n - 1, 10 * n + 9, n, "<i4"), 10 * n, 10 * (n + 1))
        for n in range(1, turns)
    ]
    expected = [0] * 9 + [n for n in range(1, turns) for _ in range(10)]
    assert marks(chain, 10 * turns) == expected


def test_a_hole_in_each_of_thousands_of_turns_is_filled_by_the_last() -> None:
    turns = 5_000
    chain = [R3Piece(block(2 * n, 2 * n + 1, n, "<i4"), 2 * n, 2 * n + 2) for n in range(turns)]
    assert marks(chain, 2 * turns) is None
    chain.append(R3Piece(block(0, 2 * turns, turns, "<i4"), 2 * turns, 2 * turns + 1))
    expected = [owner for n in range(turns) for owner in (n, turns)]
    assert marks(chain, 2 * turns + 1) == expected
