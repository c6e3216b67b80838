from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from miles_router.demo.oracle import Oracle
from miles_router.demo.plan import Interruption
from miles_router.sim.settings import SimSettings
from tests.demo.conversations import SETTINGS, answered_by, exchange_of, question

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle(SETTINGS)


@pytest.mark.parametrize("seed", [0, 9])
def test_a_right_answer_is_right_whoever_gave_it(oracle: Oracle, seed: int) -> None:
    body = question()
    answer = answered_by(SimSettings(weight_version="w1", seed=seed), body)
    assert answer["meta_info"]["routed_experts"]
    assert len(answer["output_ids"]) >= 6
    assert oracle.check(exchange_of(body, answer)) == []


def change_id(answer: Any) -> None:
    answer["output_ids"][3] += 1


def change_text(answer: Any) -> None:
    answer["text"] += " "


def change_logprob(answer: Any) -> None:
    answer["meta_info"]["output_token_logprobs"][2][0] -= 2**-22


def change_reason(answer: Any) -> None:
    answer["meta_info"]["finish_reason"] = {"type": "stop", "matched": 2}


def lose_a_field(answer: Any) -> None:
    del answer["meta_info"]["routed_experts"]


def add_a_field(answer: Any) -> None:
    answer["served_by"] = "somebody"


def change_prompt(answer: Any) -> None:
    answer["prompt_token_ids"][0] += 5


def lose_prompt(answer: Any) -> None:
    answer["prompt_token_ids"] = None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_id, r"answer.output_ids\[3\] is"),
        (change_text, "answer.text is"),
        (change_logprob, r"answer.meta_info.output_token_logprobs\[2\]\[0\] is"),
        (change_reason, "answer.meta_info.finish_reason"),
        (lose_a_field, "answer.meta_info.routed_experts is missing"),
        (add_a_field, "answer.served_by is 'somebody', which nobody generated"),
        (change_prompt, "do not spell the text"),
        (lose_prompt, "not a list of token ids"),
    ],
)
def test_each_change_of_an_answer_is_found(
    oracle: Oracle, change: Callable[[Any], None], said: str
) -> None:
    body = question()
    answer = answered_by(SETTINGS, body)
    change(answer)
    (finding,) = oracle.check(exchange_of(body, answer))
    assert re.search(said, finding)


def test_what_depends_on_the_moment_may_differ(oracle: Oracle) -> None:
    body = question()
    answer = answered_by(SETTINGS, body)
    answer["meta_info"].update(cached_tokens=64, e2e_latency=9.5, num_retractions=1, dp_rank=2)
    assert oracle.check(exchange_of(body, answer)) == []


def test_other_weights_and_another_seed_are_found(oracle: Oracle) -> None:
    body = question()
    stale = answered_by(SimSettings(weight_version="w0"), body)
    assert oracle.check(exchange_of(body, stale))
    other = json.loads(json.dumps(body))
    other["sampling_params"]["sampling_seed"] += 1
    assert oracle.check(exchange_of(body, answered_by(SETTINGS, other)))


@pytest.mark.parametrize("tokens", [1, 5])
def test_an_aborted_answer_must_be_the_beginning_of_the_right_one(
    oracle: Oracle, tokens: int
) -> None:
    body = question()
    answer = answered_by(SETTINGS, body, aborted_after=tokens)
    assert len(answer["output_ids"]) == tokens
    asked = exchange_of(body, answer, interruption=Interruption.ABORT)
    assert asked.was_aborted
    assert oracle.check(asked) == []
    assert oracle.check(exchange_of(body, answer)) == ["it was aborted, and nobody asked for that"]
    answer["output_ids"][-1] += 1
    assert oracle.check(asked) != []


def test_an_abort_before_the_first_token_is_an_answer_only_if_it_was_asked_for(
    oracle: Oracle,
) -> None:
    body = question()
    reason = {"type": "abort", "message": "Abort in waiting queue"}
    answer = {
        "text": "",
        "output_ids": [],
        "meta_info": {"id": body["rid"], "finish_reason": reason, "completion_tokens": 0},
    }
    assert oracle.check(exchange_of(body, answer, interruption=Interruption.ABORT)) == []
    assert oracle.check(exchange_of(body, answer)) != []


def test_an_answer_that_nobody_can_know_is_refused(oracle: Oracle) -> None:
    body = question()
    del body["sampling_params"]["sampling_seed"]
    with pytest.raises(ValueError, match="has no sampling_seed"):
        oracle.answer(body, prompt_ids=[5])
