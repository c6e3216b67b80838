from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as BpeTokenizer

from miles_router.sim.tokenizer import load_tokenizer, render_chat
from miles_router.sim.train_tokenizer import DATA_PATH

TOKENIZER = load_tokenizer()
REFERENCE = BpeTokenizer.from_file(str(DATA_PATH))


def test_size_and_special_tokens() -> None:
    assert TOKENIZER.vocab_size == 4000
    assert TOKENIZER.special_ids == {0, 1, 2}
    assert TOKENIZER.eos_id == 2
    assert TOKENIZER.token_text(1) == "<|im_start|>"
    assert TOKENIZER.encode("a<|im_end|>\n")[1] == 2


@given(st.text())
def test_any_text_survives_a_round_trip(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.lists(st.integers(0, 3999)), st.booleans())
def test_decoding_any_ids_is_what_the_tokenizers_library_does(ids: list[int], skip: bool) -> None:
    expected = REFERENCE.decode(ids, skip_special_tokens=skip)
    assert TOKENIZER.decode(ids, skip_special_tokens=skip) == expected


def test_half_a_character_decodes_to_the_replacement_character() -> None:
    halves = [TOKENIZER.encode("é")[0]] if len(TOKENIZER.encode("é")) > 1 else []
    first_byte = next(i for i in range(3, 4000) if TOKENIZER.token_bytes(i) == b"\xf0")
    assert TOKENIZER.decode([*halves, first_byte]).endswith("\ufffd")


def test_words_tokenize_to_themselves_alone_and_in_sequence() -> None:
    rng = random.Random(0)
    assert len(TOKENIZER.word_ids) > 1000
    for _ in range(50):
        ids = rng.choices(TOKENIZER.word_ids, k=32)
        assert TOKENIZER.encode(TOKENIZER.decode(ids)) == ids


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("Hi", "Hi"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        (None, ""),
    ],
)
def test_chat_template(content: object, shown: str) -> None:
    assert render_chat([{"role": "user", "content": content}]) == (
        f"<|im_start|>user\n{shown}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_an_id_outside_the_vocabulary_has_no_text() -> None:
    assert TOKENIZER.decode([4000, -1]) == ""
