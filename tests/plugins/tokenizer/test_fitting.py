"""The part of a text that each token stands for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.radix.run import TokenRun, UnfitRun
from miles_router.plugins.tokenizer.fitting import offset_lengths, spelled_lengths, utf8


def run(*pieces: str) -> TokenRun:
    data = [piece.encode() for piece in pieces]
    return TokenRun.of(range(len(data)), [len(piece) for piece in data], b"".join(data))


@pytest.mark.parametrize(
    ("pieces", "text", "lengths"),
    [
        (["a", "é"], "aé", [1, 2]),
        ([" a", "b"], "ab", [1, 1]),
        ([" ", "ab"], "ab", [0, 2]),
        (["", " ", "ab"], "ab", [0, 0, 2]),
        ([" a", "b"], " ab", [2, 1]),
        (["a", "b"], " ab", None),
        (["  a"], "a", None),
        (["A"], "a", None),
        ([], "", []),
    ],
)
def test_spelled_tokens_stand_for_what_they_spell(
    pieces: list[str], text: str, lengths: list[int] | None
) -> None:
    found = spelled_lengths(run(*pieces), text.encode())
    assert (None if found is None else found.tolist()) == lengths


@pytest.mark.parametrize(
    ("offsets", "text", "lengths"),
    [
        ([(0, 2), (2, 3)], "abc", [2, 1]),
        ([(0, 1), (1, 2)], "é€", [2, 3]),
        # Three tokens of one character.
        ([(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)], "a你b", [1, 0, 0, 3, 1]),
        # Text that no token covers: before, between, behind.
        ([(1, 2), (3, 4)], " a b!", [2, 3]),
        # A mark of its own in front, and a token that overlaps it.
        ([(0, 1), (0, 3)], " ab", [0, 3]),
        ([(0, 0), (0, 2)], "ab", [0, 2]),
        # A token without text in the middle, wherever it says that it is.
        ([(0, 1), (0, 0), (1, 2)], "ab", [1, 0, 1]),
        ([(0, 1), (2, 2), (1, 3)], "abc", [1, 0, 2]),
        # Offsets that end too late or run backwards.
        ([(0, 9)], "ab", [2]),
        ([(2, 3), (0, 1)], "abc", [0, 3]),
        ([(0, 0)], "ab", [2]),
        ([(0, 0)], "", [0]),
    ],
)
def test_offsets_give_every_byte_to_one_token(
    offsets: list[tuple[int, int]], text: str, lengths: list[int]
) -> None:
    assert offset_lengths(offsets, text.encode()).tolist() == lengths


@given(
    st.text(st.sampled_from("aé€😀 "), max_size=8),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8),
)
def test_any_offsets_cut_between_characters_and_sum_to_the_text(
    text: str, offsets: list[tuple[int, int]]
) -> None:
    data = text.encode()
    lengths = offset_lengths(offsets, data)
    assert int(lengths.sum()) == len(data)
    assert (lengths >= 0).all()
    for end in np.cumsum(lengths).tolist():
        assert data[:end].decode() is not None


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    assert utf8("aé") == b"a\xc3\xa9"
    with pytest.raises(UnfitRun, match="not Unicode"):
        utf8("a\ud800")
