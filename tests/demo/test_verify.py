from __future__ import annotations

from typing import Any

import pytest

from miles_router.demo.plan import Interruption
from miles_router.demo.verify import (
    check_reproduced,
    check_shape,
    check_workers,
    doubled,
    first_difference,
    left_running,
)
from tests.demo.conversations import exchange_of


@pytest.mark.parametrize(
    ("expected", "actual", "said"),
    [
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, None),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, None),
        ({"a": 1}, {}, "x.a is missing"),
        ({}, {"a": 1}, "x.a is 1, which nobody generated"),
        ([1, 2], [1], "x has 1 entries, not 2"),
        ([1, 2], [1, 3], "x[1] is 3, not 2"),
        ({"a": 1}, [1], "x is [1], not {'a': 1}"),
        (1, True, "x is True, not 1"),
        (-0.5, -0.25, "x is -0.25, not -0.5"),
        ("a" * 99, "b", f"x is 'b', not '{'a' * 59}..."),
    ],
)
def test_the_first_difference_is_named(expected: Any, actual: Any, said: str | None) -> None:
    assert first_difference(expected, actual, "x") == said


def entry(rid: str, *, aborted: bool = False) -> dict[str, Any]:
    return {"rid": rid, "aborted": aborted}


def test_a_request_may_be_generated_to_its_end_once() -> None:
    assert doubled([entry("a"), entry("a", aborted=True), entry("b")]) == []
    assert doubled([entry("a"), entry("b"), entry("a")]) == ["a was generated 2 times"]


def test_nothing_may_be_generated_for_a_client_that_has_left() -> None:
    left = [exchange_of({"rid": "a"}, None)]
    assert left[0].was_left
    assert left_running(left, [entry("a", aborted=True), entry("b")]) == []
    assert len(left_running(left, [entry("a")])) == 1


def spell(ids: Any) -> str:
    return "".join(chr(token) for token in ids)


def real_body() -> dict[str, Any]:
    params = {"max_new_tokens": 3, "min_new_tokens": 2}
    return {"rid": "r", "text": "AB", "sampling_params": params}


def real_answer() -> dict[str, Any]:
    return {
        "text": "xyz",
        "output_ids": [120, 121, 122],
        "prompt_token_ids": [65, 66],
        "meta_info": {
            "id": "r",
            "finish_reason": {"type": "length", "length": 3},
            "prompt_tokens": 2,
            "completion_tokens": 3,
            "output_token_logprobs": [[-0.5, 120, None], [-1.5, 121, None], [-2.5, 122, None]],
        },
    }


def test_an_answer_that_is_consistent_passes() -> None:
    assert check_shape(exchange_of(real_body(), real_answer()), decode=spell) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("text",), "xy", "output_ids do not spell the text"),
        (("prompt_token_ids",), [65, 67], "do not spell the prompt"),
        (("output_ids",), None, "is missing"),
        (("meta_info", "id"), "other", "it carries the id 'other'"),
        (("meta_info", "prompt_tokens"), 3, "prompt_tokens is another number"),
        (("meta_info", "completion_tokens"), 2, "completion_tokens is another number"),
        (("meta_info", "output_token_logprobs"), [], "log-probabilities are of other tokens"),
        (("meta_info", "finish_reason"), {"type": "abort"}, "nobody asked for that"),
    ],
)
def test_an_answer_that_contradicts_itself_is_found(
    path: tuple[str, ...], value: Any, said: str
) -> None:
    answer = real_answer()
    place = answer
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (finding,) = check_shape(exchange_of(real_body(), answer), decode=spell)
    assert said in finding


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("max_new_tokens", 2, "longer than asked for"), ("min_new_tokens", 4, "shorter than asked")],
)
def test_an_answer_of_another_length_is_found(name: str, value: int, said: str) -> None:
    body = real_body()
    body["sampling_params"][name] = value
    (finding,) = check_shape(exchange_of(body, real_answer()), decode=spell)
    assert said in finding


def test_an_abort_that_was_asked_for_may_be_short_or_empty() -> None:
    answer = real_answer()
    answer["meta_info"]["finish_reason"] = {"type": "abort"}
    body = real_body()
    body["sampling_params"]["min_new_tokens"] = 4
    asked = exchange_of(body, answer, interruption=Interruption.ABORT)
    assert check_shape(asked, decode=spell) == []
    never = {"text": "", "output_ids": [], "meta_info": {"finish_reason": {"type": "abort"}}}
    asked = exchange_of(body, never, interruption=Interruption.ABORT)
    assert check_shape(asked, decode=spell) == []


def scored(*pairs: tuple[float | None, int]) -> dict[str, Any]:
    entries = [[None, 66, None], *([value, token, None] for value, token in pairs)]
    return {"meta_info": {"input_token_logprobs": entries}}


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([(-0.5, 120), (-1.5, 121), (-2.5, 122)], None),
        ([(-0.5, 120), (-1.5, 121), (-2.5004, 122)], None),
        ([(-0.5, 120), (-1.502, 121), (-2.5, 122)], "token 1 (121) came with"),
        ([(-0.5, 120), (-1.5, 119), (-2.5, 122)], "it is 119 with"),
        ([(-0.5, 120), (None, 121), (-2.5, 122)], "with None"),
        ([(-0.5, 120)], "1 tokens were scored again, not 3"),
    ],
)
def test_logprobs_must_be_found_again(
    pairs: list[tuple[float | None, int]], said: str | None
) -> None:
    findings = check_reproduced(real_answer(), scored(*pairs))
    assert (findings == []) if said is None else (said in findings[0])


def test_at_the_end_every_worker_is_active_and_free() -> None:
    good = {"url": "u", "status": "active", "inflight": 0}
    assert check_workers([good], ["u"]) == []
    assert check_workers([], ["u"]) == ["u is not a worker any more"]
    bad = {**good, "status": "stale", "inflight": 2}
    assert check_workers([bad], ["u"]) == [
        "u is stale at the end, not active",
        "u holds 2 requests after the last answer",
    ]
