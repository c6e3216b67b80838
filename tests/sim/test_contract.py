from __future__ import annotations

from typing import Any

import pytest

from miles_router.sim.contract import check_generate_body
from miles_router.sim.refusals import RequestRefused


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"text": "a", "sampling_params": {"seed": 1}},
            "unknown field `seed`, expected one of `max_new_tokens`, `stop`, `stop_token_ids`, ",
        ),
        ({"sampling_params": {"max_tokens": 1}}, "unknown field `max_tokens`, expected one of "),
        (
            {"sampling_params": {"temperature": "hot"}},
            'invalid type: string "hot", expected f64',
        ),
        (
            {"sampling_params": {"max_new_tokens": 1.5}},
            "invalid type: floating point `1.5`, expected i64",
        ),
        (
            {"sampling_params": {"n": True}},
            "invalid type: boolean `true`, expected i64",
        ),
        ({"sampling_params": {"ignore_eos": 1}}, "invalid type: integer `1`, expected a boolean"),
        (
            {"sampling_params": {"stop_token_ids": 2}},
            "invalid type: integer `2`, expected a sequence",
        ),
        ({"sampling_params": {"logit_bias": []}}, "invalid type: sequence, expected a map"),
        ({"sampling_params": {"stop": ["a", 1]}}, "invalid type: integer `1`, expected a string"),
        ({"stream": "yes"}, 'invalid type: string "yes", expected a boolean'),
        ({"input_ids": ["7"]}, 'invalid type: string "7", expected i64'),
        ({"input_ids": [7.0]}, "invalid type: floating point `7.0`, expected i64"),
        ({"routing_key": {}}, "invalid type: map, expected a string"),
        ({"priority": "3"}, 'invalid type: string "3", expected i64'),
    ],
)
def test_the_contract_refuses_with_a_string(body: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        check_generate_body(body)
    assert refused.value.status == 400
    assert refused.value.body["error"].startswith(message)
    assert not refused.value.in_stream


@pytest.mark.parametrize(
    "body",
    [
        [],
        "text",
        {"text": 5},
        {"text": ["a", 5]},
        {"rid": 7},
        {"input_ids": "7"},
        {"input_ids": ["seven"]},
        {"sampling_params": 5},
        {"stream": "perhaps"},
        {"return_logprob": [[True]]},
        {"logprob_start_len": 1.5},
    ],
)
def test_what_cannot_be_converted_is_refused_in_fastapis_shape(body: Any) -> None:
    with pytest.raises(RequestRefused) as refused:
        check_generate_body(body)
    error = refused.value.body
    assert refused.value.status == 400
    assert {**error, "message": ""} == {
        "object": "error",
        "message": "",
        "type": "Bad Request",
        "param": None,
        "code": 400,
    }


@pytest.mark.parametrize(
    "body",
    [
        {"text": "a", "unknown": 1, "image_data": "x"},
        {"text": None, "stream": None, "sampling_params": {"stop": None, "temperature": 1}},
        {"input_ids": [[1], [2]], "return_logprob": [True, False], "logprob_start_len": [0, -1]},
        {"sampling_params": [{"custom_params": {"a": []}}, {"logit_bias": {"5": 1.5}}]},
    ],
)
def test_what_sglang_accepts_passes(body: dict[str, Any]) -> None:
    check_generate_body(body)
