from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from miles_router.demo.plan import Interruption
from miles_router.demo.retrieval import Retrieved
from miles_router.demo.tally import Tally
from miles_router.demo.transcript import ToldTurn
from miles_router.demo.verify import (
    check_cut,
    check_fresh,
    check_logged,
    check_plain,
    check_reproduced,
    check_shape,
    check_trajectory_reproduced,
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


def plain_answer() -> dict[str, Any]:
    answer = real_answer()
    del answer["prompt_token_ids"], answer["meta_info"]["output_token_logprobs"]
    return answer


def test_a_plain_client_gets_a_consistent_text_and_no_more() -> None:
    assert check_plain(exchange_of(real_body(), plain_answer()), decode=spell) == []
    (finding,) = check_plain(exchange_of(real_body(), real_answer()), decode=spell)
    assert finding == "it has what nobody asked for: prompt_token_ids, output_token_logprobs"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": "xy"}, "output_ids do not spell the text"),
        ({"output_ids": None}, "output_ids is missing"),
        ({"output_ids": [120], "text": "x"}, "completion_tokens is another number"),
    ],
)
def test_a_plain_answer_that_contradicts_itself_is_found(change: Any, said: str) -> None:
    findings = check_plain(exchange_of(real_body(), plain_answer() | change), decode=spell)
    assert said in findings


def test_a_plain_abort_before_the_first_token_is_an_answer_if_it_was_asked_for() -> None:
    never = {"text": "", "output_ids": [], "meta_info": {"finish_reason": {"type": "abort"}}}
    asked = exchange_of(real_body(), never, interruption=Interruption.ABORT)
    assert check_plain(asked, decode=spell) == []
    assert check_plain(exchange_of(real_body(), never), decode=spell) != []


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


def trajectory() -> Retrieved:
    return Retrieved(
        response="ABxyC",
        tokens=[65, 66, 120, 121, 67],
        loss_mask=[0, 0, 1, 1, 0],
        rollout_logp=[0.0, 0.0, -0.5, -1.5, 0.0],
        token_length=5,
        loss_mask_length=5,
        exact=True,
        spans=[],
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([None, -9.0, -0.5, -1.5, -8.0], None),
        ([None, -9.0, -0.5003, -1.5, -8.0], None),
        ([None, -9.0, -0.5, -1.503, -8.0], "token 1 (121) came with log-probability -1.5"),
        ([None, -9.0, None, -1.5, -8.0], "with None"),
        ([None, -9.0, -0.5], "3 tokens were scored again, not 5"),
    ],
)
def test_one_forward_pass_finds_the_log_probabilities_of_what_was_generated(
    values: list[float | None], said: str | None
) -> None:
    tokens = trajectory().tokens
    entries = [[value, token, None] for value, token in zip(values, tokens, strict=False)]
    scored = {"meta_info": {"input_token_logprobs": entries}}
    findings = check_trajectory_reproduced(trajectory(), scored)
    assert (findings == []) if said is None else (said in findings[0])


def test_a_stream_may_break_off_only_where_its_worker_was_killed() -> None:
    exchange = replace(exchange_of({"rid": "a"}, None), was_cut=True, worker="w1")
    tally = Tally(1)
    tally.note(exchange, [])
    assert check_cut(tally) == ["a: its stream broke off, and its worker w1 was not killed"]
    tally.killed.add("w1")
    assert check_cut(tally) == []


def versions_answer(*names: str) -> dict[str, Any]:
    spans = [{"version": name, "start": at, "end": at + 1} for at, name in enumerate(names)]
    return {"meta_info": {"weight_versions": spans}}


def test_what_is_asked_after_an_update_has_no_tokens_of_old_weights() -> None:
    tally = Tally(2)
    early = replace(exchange_of({"rid": "a"}, versions_answer("old", "new")), started_at=1.0)
    late = replace(exchange_of({"rid": "b"}, versions_answer("new")), started_at=3.0)
    tally.exchanges += [early, late]
    assert check_fresh(tally, "old") == []
    tally.updated_at = 2.0
    assert check_fresh(tally, "old") == []
    tally.exchanges.append(replace(early, started_at=2.5))
    assert check_fresh(tally, "old") == [
        "a: it has tokens of old, and was asked after all workers had other weights"
    ]


def told_turn() -> ToldTurn:
    return ToldTurn(
        exchange=replace(exchange_of({"rid": "a"}, real_answer()), worker="w1"),
        text="",
        inherited=0,
        prompt_ids=(65, 66),
        output_ids=(120,),
        logprobs=(-0.5,),
        versions=(("v", 0, 1),),
        end="",
    )


LOGGED = {
    "prompt_ids": [65, 66],
    "output_ids": [120],
    "logprobs": [-0.5],
    "weight_versions": [{"version": "v", "start": 0, "end": 1}],
    "aborted": False,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"prompt_ids": [65, 67]}, ["the log's prompt_ids[1] is 67, not 66"]),
        ({"output_ids": []}, ["the log's output_ids has 0 entries, not 1"]),
        ({"logprobs": None}, ["the log's logprobs is None, not [-0.5]"]),
        ({"weight_versions": []}, ["the log's weight_versions has 0 entries, not 1"]),
        ({"aborted": True}, ["the log's aborted is True, not False"]),
    ],
)
def test_a_log_that_says_otherwise_is_found(change: dict[str, Any], said: list[str]) -> None:
    assert check_logged(told_turn(), LOGGED | change, killed=()) == said


def test_only_a_killed_worker_may_have_forgotten_a_turn() -> None:
    assert check_logged(told_turn(), None, killed={"w1"}) == []
    assert check_logged(told_turn(), None, killed={"w2"}) == [
        "worker w1 does not know that it answered"
    ]


def test_at_the_end_every_worker_is_active_and_free() -> None:
    good = {"url": "u", "status": "active", "inflight": 0}
    assert check_workers([good], ["u"]) == []
    assert check_workers([], ["u"]) == ["u is not a worker any more"]
    bad = {**good, "status": "stale", "inflight": 2}
    assert check_workers([bad], ["u"]) == [
        "u is stale at the end, not active",
        "u holds 2 requests after the last answer",
    ]
