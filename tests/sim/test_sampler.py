from __future__ import annotations

import math
import struct

import pytest

from miles_router.sim.sampler import EOS_SHARE, Sampler
from miles_router.sim.tokenizer import load_tokenizer

SAMPLER = Sampler(load_tokenizer(), drift=0.5)


def test_the_choice_depends_on_weights_seed_and_context_and_on_nothing_else() -> None:
    def draw(version: str, seed: int | None, context: int) -> list[int]:
        return [SAMPLER.draw(version, seed, context + i, may_end=False) for i in range(8)]

    one = draw("1", 7, 100)
    assert draw("1", 7, 100) == one
    assert draw("2", 7, 100) != one
    assert draw("1", 8, 100) != one
    assert draw("1", 7, 101) != one
    assert draw("1", None, 100) == draw("1", None, 100) != one


def test_negative_seeds_are_seeds() -> None:
    assert 0 <= SAMPLER.draw("1", -1, 5, may_end=False) < 4000


def test_log_probabilities_are_negative_exact_in_float32_and_independent_of_seeds() -> None:
    for token in range(200):
        for temperature in (1.0, 0.7):
            value = SAMPLER.logprob("1", 99, token, temperature)
            assert value < 0
            assert struct.unpack("<f", struct.pack("<f", value))[0] == value
    assert SAMPLER.logprob("1", 99, 5) != SAMPLER.logprob("2", 99, 5)


def test_the_end_comes_as_often_as_said_and_never_when_forbidden() -> None:
    drawn = [SAMPLER.draw("1", 0, context, may_end=True) for context in range(20_000)]
    assert drawn.count(2) / 20_000 == pytest.approx(EOS_SHARE, rel=0.2)
    assert 2 not in [SAMPLER.draw("1", 0, context, may_end=False) for context in range(2_000)]


def test_top_is_sorted_and_distinct() -> None:
    top = SAMPLER.top("1", 5, 6, following=7)
    assert len({token for _, token in top}) == 6
    assert top == sorted(top, reverse=True)
    assert top == SAMPLER.top("1", 5, 6, following=7)
    assert top != SAMPLER.top("2", 5, 6, following=7)
    assert SAMPLER.top("1", 5, 0, following=7) == []


def test_top_has_as_many_as_there_are() -> None:
    tokenizer = load_tokenizer()
    words_only = Sampler(tokenizer, drift=0.0)
    for asked in (1, len(tokenizer.word_ids) + 1, len(tokenizer.ordinary_ids) + 9):
        top = words_only.top("1", 5, asked, following=tokenizer.eos_id)
        assert len(top) == min(asked, len(tokenizer.ordinary_ids) + 1)


@pytest.mark.parametrize("temperature", [1e-3, 0.5, 1.0, 2.0, 1e6, 1e300])
def test_all_tokens_together_have_a_probability_of_at_most_1(temperature: float) -> None:
    vocabulary = range(load_tokenizer().vocab_size)
    for context in range(5):
        token = SAMPLER.draw("1", 3, context, may_end=True)
        pairs = SAMPLER.logprobs("1", context, vocabulary, following=token, temperature=temperature)
        assert sum(math.exp(value) for value, _ in pairs) <= 1.0
        assert all(struct.unpack("<f", struct.pack("<f", value))[0] == value for value, _ in pairs)
        own = SAMPLER.logprob("1", context, token, temperature)
        assert pairs[token] == (own, token)
        top = SAMPLER.top("1", context, 5, following=token, temperature=temperature)
        assert set(top) <= set(pairs)
        assert (own, token) in top


def test_what_follows_is_the_likeliest() -> None:
    for context in range(200):
        token = SAMPLER.draw("1", 3, context, may_end=True)
        (first, *_) = SAMPLER.top("1", context, 4, following=token)
        assert first == (SAMPLER.logprob("1", context, token), token)


@pytest.mark.parametrize(("drift", "least", "most"), [(0.0, 0.0, 0.0), (0.5, 0.5, 1.0)])
def test_drift_decides_how_many_answers_change_when_tokenized_again(
    drift: float, least: float, most: float
) -> None:
    tokenizer = load_tokenizer()
    sampler = Sampler(tokenizer, drift=drift)
    changed = 0
    for answer in range(200):
        ids = [sampler.draw("1", answer, place, may_end=False) for place in range(32)]
        changed += tokenizer.encode(tokenizer.decode(ids)) != ids
    assert least <= changed / 200 <= most
