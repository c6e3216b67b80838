from __future__ import annotations

from typing import Any

import pytest

from miles_router.sim.refusals import RequestRefused
from miles_router.sim.sampling_params import SamplingParams, parse_sampling_params


def parse(given: dict[str, Any] | None, room_tokens: int = 1000) -> SamplingParams:
    return parse_sampling_params(given, vocab_size=4000, room_tokens=room_tokens)


@pytest.mark.parametrize("given", [None, {}, {"temperature": None, "max_new_tokens": None}])
def test_nothing_and_null_mean_the_defaults(given: dict[str, Any] | None) -> None:
    params = parse(given)
    assert params == SamplingParams()
    assert params.max_new_tokens == 128
    assert params.skip_special_tokens
    assert not params.no_stop_trim


@pytest.mark.parametrize(
    ("given", "is_greedy"),
    [({"temperature": 0}, True), ({"top_k": 1}, True), ({"temperature": 0.7}, False)],
)
def test_greedy(given: dict[str, Any], is_greedy: bool) -> None:
    assert parse(given).is_greedy is is_greedy


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperature": -1}, "temperature must be a non-negative finite number, got -1."),
        ({"top_p": 0}, "top_p must be in (0, 1], got 0."),
        ({"top_k": 0}, "top_k must be -1 (disable) or at least 1, got 0."),
        ({"min_p": 2}, "min_p must be in [0, 1], got 2."),
        ({"frequency_penalty": 3}, "frequency_penalty must be in [-2, 2], got 3."),
        (
            {"repetition_penalty": 0},
            "repetition_penalty must be in (0, 2] (1.0 = no penalty), got 0.",
        ),
        ({"max_new_tokens": -1}, "max_new_tokens must be at least 0, got -1."),
        (
            {"max_new_tokens": 2, "min_new_tokens": 3},
            "min_new_tokens must be in [0, max_new_tokens(2)], got 3.",
        ),
        ({"logit_bias": {"4000": 1}}, "logit_bias must has keys in [0, 3999], got 4000."),
        ({"sampling_seed": 2**63}, f"sampling_seed must be in [-2**63, 2**63 - 1], got {2**63}."),
        ({"stop_regex": "("}, "invalid stop_regex: missing ), unterminated subpattern at "),
    ],
)
def test_values_sglang_refuses(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse(given)
    assert refused.value.status == 400
    assert refused.value.body["error"]["message"].startswith(message)
    assert refused.value.in_stream


def test_an_answer_is_cut_to_the_room_in_the_context() -> None:
    assert parse({"max_new_tokens": 50}, room_tokens=10).max_new_tokens == 10


def test_one_stop_string_or_several() -> None:
    assert parse({"stop": "a"}).stop == ("a",)
    assert parse({"stop": ["a", "", "b"]}).stop == ("a", "b")
