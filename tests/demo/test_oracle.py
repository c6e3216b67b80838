from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from miles_router.demo.oracle import Oracle
from miles_router.demo.plan import Interruption
from miles_router.demo.transcript import ToldTurn, told_versions
from miles_router.sim.settings import SimSettings
from miles_router.sim.tokenizer import load_tokenizer
from tests.demo.conversations import SETTINGS, answered_by, exchange_of, question

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


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


def test_a_client_that_asks_for_nothing_must_get_nothing_more(oracle: Oracle) -> None:
    body = question(style=1)
    assert "return_logprob" not in body
    answer = answered_by(SETTINGS, body)
    assert "prompt_token_ids" not in answer
    assert oracle.check(exchange_of(body, answer)) == []
    more = answered_by(SETTINGS, body | {"return_logprob": True})
    (finding,) = oracle.check(exchange_of(body, more))
    assert "nobody generated" in finding


def test_an_answer_to_other_prompt_ids_is_found(oracle: Oracle) -> None:
    body = question(style=1)
    ids = load_tokenizer().encode(body["text"])
    assert oracle.check(exchange_of(body, answered_by(SETTINGS, body)), prompt_ids=ids) == []
    given = {key: value for key, value in body.items() if key != "text"}
    other = answered_by(SETTINGS, given | {"input_ids": [*ids[:-1], ids[-1] + 1]})
    (finding,) = oracle.check(exchange_of(body, other), prompt_ids=ids)
    assert finding.startswith("answer.output_ids[0] is")


def test_log_probabilities_are_known_of_answers_that_carry_none(oracle: Oracle) -> None:
    body = question(style=1)
    asked = answered_by(SETTINGS, body | {"return_logprob": True})
    told = [entry[0] for entry in asked["meta_info"]["output_token_logprobs"]]
    exchange = exchange_of(body, answered_by(SETTINGS, body))
    assert oracle.logprobs(exchange, load_tokenizer().encode(body["text"])) == told


def updated_answer(body: dict[str, Any], *, after: int) -> Any:
    """The answer of a worker that gets other weights after some tokens."""
    return answered_by(SETTINGS, body, updated_after=(after, "w2"))


def test_weights_may_change_within_an_answer_where_that_is_known() -> None:
    later = Oracle(SETTINGS, ["w2"])
    body = question()
    answer = updated_answer(body, after=3)
    spans = answer["meta_info"]["weight_versions"]
    assert [span["version"] for span in spans] == ["w1", "w2"]
    assert later.check(exchange_of(body, answer)) == []
    assert Oracle(SETTINGS).check(exchange_of(body, answer))
    spans[0]["end"] = spans[1]["start"] = 2
    assert later.check(exchange_of(body, answer))
    assert later.check(exchange_of(body, updated_answer(body, after=3) | {"meta_info": {}}))


def test_weights_do_not_change_back() -> None:
    body = question()
    answer = updated_answer(body, after=3)
    assert Oracle(replace(SETTINGS, weight_version="w2"), ["w1"]).check(exchange_of(body, answer))


def told(body: dict[str, Any], answer: Any, *, inherited: int) -> ToldTurn:
    return ToldTurn(
        exchange=exchange_of(body, answer),
        text="",
        inherited=inherited,
        prompt_ids=tuple(answer["prompt_token_ids"]),
        output_ids=tuple(answer["output_ids"]),
        logprobs=None,
        versions=told_versions(answer),
        end="",
    )


def sent_rows(answer: Any) -> NDArray[np.int32]:
    data = base64.b64decode(answer["meta_info"]["routed_experts"])
    return np.frombuffer(data, "<i4").reshape(-1, SETTINGS.num_layers, SETTINGS.top_k)


def test_routed_experts_are_those_that_a_worker_sent(oracle: Oracle) -> None:
    body = question()
    for answer in (answered_by(SETTINGS, body), updated_answer(body, after=3)):
        rows = oracle.rows([told(body, answer, inherited=0)])
        assert np.array_equal(rows, sent_rows(answer))


def test_a_row_is_of_the_first_turn_that_needed_it() -> None:
    """The second turn's worker computes the first one's rows again, with other weights."""
    body = question()
    first = answered_by(SETTINGS, body)
    ids = [*first["prompt_token_ids"], *first["output_ids"]]
    given = {key: value for key, value in body.items() if key != "text"}
    newer = replace(SETTINGS, weight_version="w2")
    second = answered_by(newer, given | {"input_ids": [*ids, 5, 6, 7]})
    rows = Oracle(SETTINGS, ["w2"]).rows(
        [told(body, first, inherited=0), told(body, second, inherited=len(ids))]
    )
    assert np.array_equal(rows[: len(ids) - 1], sent_rows(first))
    assert np.array_equal(rows[len(ids) - 1 :], sent_rows(second)[len(ids) - 1 :])
    assert not np.array_equal(rows[: len(ids) - 1], sent_rows(second)[: len(ids) - 1])


def test_an_answer_that_nobody_can_know_is_refused(oracle: Oracle) -> None:
    body = question()
    del body["sampling_params"]["sampling_seed"]
    with pytest.raises(ValueError, match="has no sampling_seed"):
        oracle.answer(body, prompt_ids=[5])
