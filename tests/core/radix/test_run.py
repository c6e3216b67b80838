"""Runs of tokens: packed, cut and joined without losing a byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.radix.run import (
    EMPTY,
    ID_BYTES,
    LENGTH_BYTES,
    MAX_TOKEN_TEXT_BYTES,
    TokenRun,
    UnfitRun,
    join,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKENS = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.text(max_size=4)), max_size=12)


def run_of(tokens: Sequence[tuple[int, str]]) -> TokenRun:
    data = [text.encode() for _, text in tokens]
    return TokenRun.of([token for token, _ in tokens], [len(d) for d in data], b"".join(data))


def tokens_of(run: TokenRun) -> list[tuple[int, str]]:
    starts = [0, *run.ends().tolist()]
    return [
        (int(token), run.text[starts[place] : starts[place + 1]].decode())
        for place, token in enumerate(run.id_array)
    ]


def test_a_run_is_packed() -> None:
    run = TokenRun.of([1, 2**31 - 1], [0, 3], b"abc")
    assert run.ids == bytes.fromhex("01000000 ffffff7f")
    assert run.lengths == bytes.fromhex("0000 0300")
    assert len(run) == 2
    assert (run.id_array.dtype, run.length_array.dtype) == (np.dtype("<i4"), np.dtype("<u2"))
    assert len(run.ids) == len(run) * ID_BYTES
    assert len(run.lengths) == len(run) * LENGTH_BYTES


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint16])
def test_numbers_may_come_in_arrays(kind: type[np.integer]) -> None:
    run = TokenRun.of(np.array([7, 8], dtype=kind), np.array([1, 2], dtype=kind), b"abc")
    assert tokens_of(run) == [(7, "a"), (8, "bc")]


@pytest.mark.parametrize(
    ("ids", "lengths", "text", "reason"),
    [
        ([1], [], b"", "1 ids, 0 lengths"),
        ([1, 2], [1, 1], b"abc", "2 bytes, 3 bytes of text"),
        ([1], [2], b"a", "2 bytes, 1 bytes of text"),
        ([], [], b"a", "0 ids"),
        ([-1], [0], b"", "not an int32"),
        ([2**31], [0], b"", "not an int32"),
        ([1, 2], [2, -1], b"a", "more than 65535"),
        ([1], [MAX_TOKEN_TEXT_BYTES + 1], b"a" * (MAX_TOKEN_TEXT_BYTES + 1), "more than 65535"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    ids: list[int], lengths: list[int], text: bytes, reason: str
) -> None:
    with pytest.raises(UnfitRun, match=reason):
        TokenRun.of(ids, lengths, text)


def test_the_longest_token_fits() -> None:
    run = TokenRun.of([0], [MAX_TOKEN_TEXT_BYTES], b"a" * MAX_TOKEN_TEXT_BYTES)
    assert run.ends().tolist() == [MAX_TOKEN_TEXT_BYTES]


def test_long_runs_are_counted_beyond_16_bits() -> None:
    run = TokenRun.of([0] * 3, [60_000] * 3, b"a" * 180_000)
    assert run.ends().tolist() == [60_000, 120_000, 180_000]
    assert run.text_bytes_of(3) == 180_000
    assert run.cut(1, 3).text_bytes_of(2) == 120_000


@given(TOKENS)
def test_a_run_holds_its_tokens(tokens: list[tuple[int, str]]) -> None:
    run = run_of(tokens)
    assert tokens_of(run) == tokens
    assert run.text.decode() == "".join(text for _, text in tokens)
    for count in range(len(tokens) + 1):
        assert run.text_bytes_of(count) == len("".join(t for _, t in tokens[:count]).encode())


@given(TOKENS, st.data())
def test_a_cut_holds_the_tokens_between(tokens: list[tuple[int, str]], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(tokens)))
    end = data.draw(st.integers(start, len(tokens)))
    run = run_of(tokens)
    assert tokens_of(run.cut(start, end)) == tokens[start:end]
    assert run.cut(0, start) + run.cut(start, len(run)) == run


def test_a_whole_cut_is_the_run_itself() -> None:
    run = run_of([(1, "a"), (2, "b")])
    assert run.cut(0, 2) is run
    assert run.cut(1, 1) == EMPTY


@given(st.lists(TOKENS, max_size=4))
def test_joined_runs_hold_all_tokens(parts: list[list[tuple[int, str]]]) -> None:
    joined = join(run_of(part) for part in parts)
    assert tokens_of(joined) == [token for part in parts for token in part]


def test_joining_with_nothing_copies_nothing() -> None:
    run = run_of([(1, "a")])
    assert join([EMPTY, run, EMPTY]) is run
    assert run + EMPTY is run
    assert join([]) == EMPTY
    assert len(EMPTY) == 0


def test_runs_are_equal_by_value_and_can_be_keys() -> None:
    one, other = run_of([(1, "a"), (2, "")]), run_of([(1, ""), (2, "a")])
    assert one != other
    assert {one: 1}[run_of([(1, "a"), (2, "")])] == 1


def test_arrays_of_a_run_cannot_be_written() -> None:
    run = run_of([(1, "a")])
    with pytest.raises(ValueError, match="read-only"):
        run.id_array[0] = 2
