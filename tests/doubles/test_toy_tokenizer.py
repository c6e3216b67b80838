"""The toy tokenizer has the troubles that it is there for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.radix.run import UnfitRun
from tests.doubles.toy_tokenizer import (
    BOS,
    DRAWN_IDS,
    EOS,
    FIRST_MERGE,
    MERGES,
    VOCAB_SIZE,
    ToyTokenizer,
    characters,
    spellings,
)

AB, ABC, CD = (FIRST_MERGE + MERGES.index(merge) for merge in ("ab", "abc", "cd"))
A, B, C, D = b"abcd"
E_ACUTE = FIRST_MERGE + MERGES.index("é")


@pytest.mark.parametrize(
    ("text", "ids", "lengths"),
    [
        ("", [], []),
        ("abcd", [ABC, D], [3, 1]),
        ("abab", [AB, AB], [2, 2]),
        ("éa", [E_ACUTE, A], [2, 1]),
        ("你a", [0xE4, 0xBD, 0xA0, A], [0, 0, 3, 1]),
        ("ab<e>cd", [AB, EOS, CD], [2, 3, 2]),
        ("<e", [ord("<"), ord("e")], [1, 1]),
    ],
)
def test_the_longest_token_is_taken(text: str, ids: list[int], lengths: list[int]) -> None:
    run = ToyTokenizer().encode(text, is_continuation=False)
    assert (run.id_array.tolist(), run.length_array.tolist()) == (ids, lengths)
    assert run.text == text.encode()


def test_a_whole_prompt_may_begin_with_bos() -> None:
    tokenizer = ToyTokenizer(adds_bos=True)
    whole = tokenizer.encode("ab", is_continuation=False)
    assert (whole.id_array.tolist(), whole.length_array.tolist()) == ([BOS, AB], [0, 2])
    assert tokenizer.encode("ab", is_continuation=True).id_array.tolist() == [AB]


@pytest.mark.parametrize(
    ("ids", "skips", "text", "lengths"),
    [
        ([AB, C, D], True, "abcd", [2, 1, 1]),
        ([AB, EOS], True, "ab", [2, 0]),
        ([AB, EOS], False, "ab<e>", [2, 3]),
        ([0xC3, 0xA9], True, "é", [0, 2]),
        ([0xC3, EOS, 0xA9], True, "é", [0, 0, 2]),
        ([0xC3, EOS, 0xA9], False, "\ufffd<e>\ufffd", [3, 3, 3]),
        ([0xFF, A, 0xE2], True, "\ufffda\ufffd", [3, 1, 3]),
    ],
)
def test_ids_show_text(ids: list[int], skips: bool, text: str, lengths: list[int]) -> None:
    run = ToyTokenizer().spell(ids, skip_special_tokens=skips)
    assert run.text.decode() == text
    assert run.length_array.tolist() == lengths
    assert run.id_array.tolist() == ids


@pytest.mark.parametrize("token", [-1, VOCAB_SIZE])
def test_ids_outside_the_vocabulary_are_refused(token: int) -> None:
    with pytest.raises(UnfitRun):
        ToyTokenizer().spell([token], skip_special_tokens=False)


def test_one_text_has_several_spellings() -> None:
    found = list(spellings("abc"))
    assert sorted(found) == sorted([[A, B, C], [AB, C], [A, FIRST_MERGE + 3], [ABC]])
    assert [0xC3, 0xA9] in spellings("é")
    for ids in found:
        assert ToyTokenizer().spell(ids, skip_special_tokens=True).text == b"abc"


@given(st.text())
def test_texts_are_spelled_as_they_were(text: str) -> None:
    tokenizer = ToyTokenizer()
    run = tokenizer.encode(text, is_continuation=True)
    assert tokenizer.spell(run.id_array, skip_special_tokens=False) == run


@given(st.lists(st.sampled_from(DRAWN_IDS), max_size=12))
def test_drawn_ids_are_in_the_vocabulary(ids: list[int]) -> None:
    run = ToyTokenizer().spell(ids, skip_special_tokens=True)
    assert run.id_array.tolist() == ids
    assert not any(run.length_array[place] for place, token in enumerate(ids) if token == EOS)


@given(st.binary(max_size=12))
def test_characters_are_those_of_replacing_decoders(data: bytes) -> None:
    found = list(characters(data))
    assert b"".join(shown for _, shown in found).decode() == data.decode(errors="replace")
    assert [end for end, _ in found] == sorted({end for end, _ in found})
    assert not data or found[-1][0] == len(data)
