from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from miles_router.core.generate.judging import COUNT, judged, parts_of, read_raw
from miles_router.core.generate.opened import OpenedItem, open_answer
from miles_router.core.generate.reasons import RefusalReason, Uncached
from miles_router.core.generate.splice import MEMBERS
from miles_router.core.trajectory.turn import VersionSpan
from tests.core.generate.answers import (
    QUEUE_ABORT,
    SINGLE,
    changed,
    expected,
    logprobs_of,
    read_one,
)


def refusal(body: bytes, **expect: Any) -> str:
    (item,) = open_answer(body).items
    assert isinstance(item, OpenedItem)
    with pytest.raises(Uncached) as caught:
        judged(parts_of(item), expected(**expect), 0)
    return caught.value.reason


def test_the_example_of_the_contract() -> None:
    found = read_one(SINGLE, logprobs=True)
    assert (found.output_ids.dtype, found.output_ids.tolist()) == (np.dtype("<i4"), [36, 2])
    assert (found.text, found.finish, found.rid) == (b"4<|im_end|>", "stop", "t1")
    assert logprobs_of(found) == [-0.25, -0.5]
    assert found.weight_version == "12"
    assert found.versions == (VersionSpan("12", 0, 2),)
    assert found.routed_experts is not None
    assert found.routed_experts.obj is not None
    assert bytes(found.routed_experts) == SINGLE.split(b'"routed_experts":"')[1].split(b'"')[0]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"output_ids": ...}, "no_output_ids"),
        ({"output_ids": None}, "no_output_ids"),
        ({"output_ids": ["36", "2"]}, "bad_output_ids"),
        ({"output_ids": [36.0, 2]}, "bad_output_ids"),
        ({"output_ids": [36, -2]}, "bad_output_ids"),
        ({"output_ids": [36, 2**40]}, "bad_output_ids"),
        ({"output_ids": "36,2"}, "bad_output_ids"),
        ({"output_ids": [36, 49_152]}, "out_of_vocabulary"),
        ({"output_ids": [36]}, "completion_tokens"),
        ({"completion_tokens": 3}, "completion_tokens"),
        ({"completion_tokens": "2"}, "completion_tokens"),
        ({"completion_tokens": None}, "completion_tokens"),
        ({"completion_tokens": ...}, "completion_tokens"),
        ({"prompt_tokens": 3}, "prompt_tokens"),
        ({"prompt_tokens": "2"}, "prompt_tokens"),
        ({"prompt_tokens": ...}, "no_prompt_tokens"),
        ({"prompt_tokens": None}, "no_prompt_tokens"),
        ({"prompt_token_ids": [34, 28]}, "prompt_token_ids"),
        ({"prompt_token_ids": [34]}, "prompt_token_ids"),
        ({"prompt_token_ids": "x"}, "prompt_token_ids"),
        ({"text": 5}, "bad_answer_text"),
        ({"finish_reason": None}, "unfinished"),
        ({"finish_reason": ...}, "unfinished"),
        ({"finish_reason": "stop"}, "bad_finish_reason"),
        ({"finish_reason": {}}, "bad_finish_reason"),
        ({"finish_reason": {"type": "melted"}}, "bad_finish_reason"),
        ({"finish_reason": {"type": "abort", "status_code": 503}}, "worker_error"),
        ({"output_token_logprobs": [[-0.25, 36, None]]}, "logprob_count"),
        ({"output_token_logprobs": []}, "logprob_count"),
        ({"output_token_logprobs": [[-0.25, 36, None], [-0.5, 3, None]]}, "logprob_ids"),
        ({"output_token_logprobs": [[-0.25, 2, None], [-0.5, 36, None]]}, "logprob_ids"),
        ({"output_token_logprobs": [["a", 36, None], [-0.5, 2, None]]}, "bad_logprobs"),
        ({"output_token_logprobs": [[-1e300, 36, None], [-0.5, 2, None]]}, "bad_logprobs"),
        ({"output_token_logprobs": [[-0.25, 36, None], [0.02, 2, None]]}, "bad_logprobs"),
        ({"output_token_logprobs": [[5, 36, None], [-0.5, 2, None]]}, "bad_logprobs"),
        ({"output_token_logprobs": [[-0.25, 36], [-0.5, 2]]}, "bad_logprobs"),
        ({"output_token_logprobs": [-0.25, -0.5]}, "bad_logprobs"),
        ({"output_token_logprobs_length": 1}, "logprob_count"),
        ({"output_token_logprobs_length": 3}, "logprob_count"),
        ({"output_token_logprobs_length": "2"}, "logprob_count"),
        ({"output_token_logprobs_length": -2}, "logprob_count"),
        ({"output_token_logprobs": ...}, "no_logprobs"),
        ({"output_token_logprobs": None}, "no_logprobs"),
    ],
)
def test_a_worker_that_lies_is_not_believed(values: dict[str, Any], reason: str) -> None:
    assert refusal(changed(SINGLE, **values), logprobs=True) == reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (QUEUE_ABORT, "queue_abort"),
        (b'{"error":{"message":"Duplicate request ID detected: q7"}}', "worker_error"),
        (b'{"error":"unknown field `seed`, expected one of ..."}', "worker_error"),
        (b'{"object":"error","message":"The request queue is full.","code":503}', "worker_error"),
        (b"{}", "no_meta_info"),
        (b'{"text":"a","output_ids":[5]}', "no_meta_info"),
        (b'{"text":"a","output_ids":[5],"meta_info":[]}', "no_meta_info"),
        (b'{"text":"a","meta_info":{}}', "no_output_ids"),
        (b'{"text":"\xff","output_ids":[5],"meta_info":{}}', "bad_answer_text"),
        (b'{"text":"a","output_ids":[5],"meta_info":{}}', "unfinished"),
    ],
)
def test_what_was_never_generated(body: bytes, reason: str) -> None:
    assert refusal(body) == reason


def test_what_decides_nothing_may_be_missing_or_odd() -> None:
    for odd in (..., None, 7, ["x"]):
        found = read_one(changed(SINGLE, weight_version=odd, weight_versions=..., id=odd, text=...))
        assert (found.weight_version, found.rid, found.text) == (None, None, None)
        assert found.versions == (VersionSpan(None, 0, 2),)
    for odd in (..., None):
        assert read_one(changed(SINGLE, prompt_token_ids=odd)).output_ids.tolist() == [36, 2]
        assert logprobs_of(read_one(changed(SINGLE, output_token_logprobs_length=odd))) == [
            -0.25,
            -0.5,
        ]


def test_prompt_ids_agree_however_they_are_written() -> None:
    spaced = SINGLE.replace(b'"prompt_token_ids":[34,27]', b'"prompt_token_ids": [ 34, 27 ]')
    assert read_one(spaced).output_ids.tolist() == [36, 2]


def span(version: str, start: int, end: int) -> dict[str, Any]:
    return {"version": version, "start": start, "end": end}


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [span("7", 0, 1)],
        [span("7", 0, 3)],
        [span("7", 1, 2)],
        [span("7", 0, 1), span("8", 0, 2)],
        [span("8", 1, 2), span("7", 0, 1)],
        [span("7", 0, 3), span("8", 3, 2)],
        [span("7", -1, 2)],
        [{"version": 7, "start": 0, "end": 2}],
        [{"version": "7", "start": 0}],
        ["7"],
        7,
        "7",
    ],
)
def test_who_contradicts_itself_about_its_weights_is_not_believed(spans: Any) -> None:
    assert refusal(changed(SINGLE, weight_versions=spans)) == "weight_versions"


@pytest.mark.parametrize("absent", [..., None])
def test_one_version_made_all_where_no_spans_are_named(absent: Any) -> None:
    assert read_one(changed(SINGLE, weight_versions=absent)).versions == (VersionSpan("12", 0, 2),)


@pytest.mark.parametrize("spans", [..., None, [], [span("7", 0, 0)]])
def test_no_version_made_no_tokens(spans: Any) -> None:
    nothing = changed(SINGLE, text="", output_ids=[], completion_tokens=0, weight_versions=spans)
    body = changed(nothing, output_token_logprobs=[], output_token_logprobs_length=0)
    assert read_one(body).versions == ()
    assert refusal(changed(body, weight_versions=[span("7", 0, 1)])) == "weight_versions"


def test_an_answer_of_two_versions() -> None:
    spans = [span("7", 0, 1), span("x", 1, 1), span("8", 1, 2)]
    found = read_one(changed(SINGLE, weight_versions=spans, weight_version="8"))
    assert found.versions == (VersionSpan("7", 0, 1), VersionSpan("8", 1, 2))
    assert found.weight_version == "8"


def test_log_probabilities_that_nobody_asked_for_or_that_are_not_known() -> None:
    none = read_one(changed(SINGLE, output_token_logprobs=...))
    assert all(math.isnan(value) for value in logprobs_of(none))
    assert len(none.logprobs) == 8
    some = read_one(
        changed(SINGLE, output_token_logprobs=[[None, 36, None], [-1, 2, "x"]]), logprobs=True
    )
    assert math.isnan(logprobs_of(some)[0])
    assert logprobs_of(some)[1] == -1.0


def test_a_log_probability_of_almost_nothing_above_zero_is_rounding() -> None:
    triples = [[0.0, 36, None], [2**-7, 2, None]]
    found = read_one(changed(SINGLE, output_token_logprobs=triples), logprobs=True)
    assert logprobs_of(found) == [0.0, 2**-7]


def test_no_new_token_has_a_log_probability_all_the_same() -> None:
    body = changed(
        SINGLE,
        text="",
        output_ids=[],
        completion_tokens=0,
        finish_reason={"type": "length", "length": 0},
        output_token_logprobs=[[-0.5, 2, None]],
        output_token_logprobs_length=1,
        weight_versions=[span("12", 0, 0)],
    )
    found = read_one(body, logprobs=True)
    assert (found.output_ids.shape, found.logprobs, found.versions) == ((0,), b"", ())
    assert found.finish == "length"


@pytest.mark.parametrize(
    ("value", "seen"), [(..., None), (None, None), ("", b""), ("AAAA", b"AAAA"), (7, b"7")]
)
def test_routed_experts_come_as_they_stand(value: Any, seen: bytes | None) -> None:
    found = read_one(changed(SINGLE, routed_experts=value)).routed_experts
    assert (None if found is None else bytes(found)) == seen


def test_reading_one_member() -> None:
    members = MEMBERS.decode(b'{"a":5,"b":null,"c":-1}')
    reason = RefusalReason.PROMPT_TOKENS
    assert [read_raw(members.get(key), COUNT, reason) for key in "abd"] == [5, None, None]
    with pytest.raises(Uncached) as caught:
        read_raw(members["c"], COUNT, reason)
    assert caught.value.reason is reason
