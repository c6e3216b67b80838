from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from miles_router.sim.sampling_params import SamplingParams
from miles_router.sim.text import AnswerText
from miles_router.sim.tokenizer import load_tokenizer

TOKENIZER = load_tokenizer()


def byte_token(value: int) -> int:
    return next(i for i in range(3, 4000) if TOKENIZER.token_bytes(i) == bytes([value]))


def test_half_a_character_is_held_back_until_it_is_whole() -> None:
    text = AnswerText(TOKENIZER, SamplingParams())
    shown = []
    for value in "a🦊".encode():
        text.show(byte_token(value))
        shown.append(text.visible())
    assert shown == ["a", "a", "a", "a", "a🦊"]


def test_what_stays_broken_is_shown_at_the_end() -> None:
    text = AnswerText(TOKENIZER, SamplingParams())
    text.show(byte_token(0xF0))
    assert text.visible() == ""
    text.finish(None)
    assert text.visible() == "\ufffd"


@given(st.lists(st.integers(3, 3999), max_size=40))
def test_streams_show_growing_prefixes_of_the_whole_text(ids: list[int]) -> None:
    text = AnswerText(TOKENIZER, SamplingParams())
    before = ""
    for token in ids:
        text.show(token)
        assert text.visible().startswith(before)
        before = text.visible()
    text.finish(None)
    assert text.visible().startswith(before)
    assert text.visible() == TOKENIZER.decode(ids)


def test_the_possible_start_of_a_stop_string_is_held_back() -> None:
    text = AnswerText(TOKENIZER, SamplingParams(stop=("END",)))
    shown = []
    for letter in b"aENxEND":
        token = byte_token(letter)
        matched = text.push(token)
        text.show(token)
        if matched:
            text.finish(matched)
        shown.append(text.visible())
    assert shown == ["a", "a", "a", "aENx", "aENx", "aENx", "aENx"]


def test_a_stop_string_can_be_kept() -> None:
    text = AnswerText(TOKENIZER, SamplingParams(stop=("b",), no_stop_trim=True))
    for token in map(byte_token, b"abc"):
        text.push(token)
        text.show(token)
    text.finish("b")
    assert text.visible() == "ab"


def test_special_tokens_are_hidden_but_can_match_a_stop_string() -> None:
    text = AnswerText(TOKENIZER, SamplingParams(stop=("<|im_start|>",)))
    assert text.push(1) == "<|im_start|>"
    text.show(1)
    assert text.visible() == ""
    kept = AnswerText(TOKENIZER, SamplingParams(skip_special_tokens=False))
    kept.show(1)
    assert kept.visible() == "<|im_start|>"


def test_a_pattern_is_reported_by_its_source() -> None:
    text = AnswerText(TOKENIZER, SamplingParams(stop_regex=(re.compile(r"\d\d"),)))
    assert text.push(byte_token(ord("4"))) is None
    assert text.push(byte_token(ord("2"))) == r"\d\d"
