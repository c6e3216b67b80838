from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miles_router.core.generate.answer import read_answer
from miles_router.core.generate.items import AnswerItem, Expected
from miles_router.core.generate.opened import open_answer
from miles_router.core.generate.reasons import RefusalReason
from miles_router.core.generate.request import read_request
from tests.core.generate import simulated
from tests.core.generate.answers import (
    QUEUE_ABORT,
    SINGLE,
    TWO_SAMPLES,
    expected,
    logprobs_of,
    only,
)
from tests.core.generate.test_splice import json_values


def reasons(body: bytes, **expect: Any) -> list[str]:
    found = read_answer(body, expected(**expect))
    return ["ok" if isinstance(item, AnswerItem) else item.value for item in found]


def test_two_samples_one_of_them_aborted() -> None:
    first, second = read_answer(TWO_SAMPLES, expected([665], n=2, is_array=True))
    assert isinstance(first, AnswerItem)
    assert isinstance(second, AnswerItem)
    assert (first.output_ids.tolist(), first.text, first.finish) == ([665, 2], b" there", "stop")
    assert (second.output_ids.tolist(), second.text, second.finish) == ([253], b" a", "abort")


def test_each_item_is_judged_alone() -> None:
    body = b"[" + SINGLE + b"," + QUEUE_ABORT + b",7," + SINGLE + b"]"
    assert reasons(body, n=4, is_array=True) == [
        "ok",
        "queue_abort",
        "answer_shape",
        "ok",
    ]


def test_items_are_held_against_their_own_prompt() -> None:
    body = b"[" + b",".join([SINGLE] * 4) + b"]"
    want = Expected(
        prompt_ids=(np.array([34, 27], dtype="<i4"), np.array([1, 2, 3], dtype="<i4")),
        n=2,
        is_array=True,
        asks_logprobs=(True, True),
        vocab_size=100,
    )
    found = read_answer(body, want)
    assert [isinstance(item, AnswerItem) for item in found] == [True, True, False, False]
    assert found[2:] == [RefusalReason.PROMPT_TOKENS] * 2


@pytest.mark.parametrize(
    ("body", "expect", "reason"),
    [
        (b"<html>", {}, "answer_not_json"),
        (SINGLE[:-1], {}, "answer_not_json"),
        (b"[" + SINGLE + b"]", {}, "answer_shape"),
        (b"[]", {}, "answer_shape"),
        (b"5", {}, "answer_shape"),
        (b'{"error":"no"}', {}, "worker_error"),
        (b'{"object":"error"}', {"n": 3, "is_array": True}, "worker_error"),
        (SINGLE, {"n": 3, "is_array": True}, "answer_shape"),
        (SINGLE, {"is_array": True}, "answer_shape"),
        (b"[" + SINGLE + b"]", {"n": 3, "is_array": True}, "answer_shape"),
    ],
)
def test_what_is_no_answer_refuses_every_item(
    body: bytes, expect: dict[str, Any], reason: str
) -> None:
    assert reasons(body, **expect) == [reason] * expect.get("n", 1)


def test_an_opened_answer_is_not_opened_again() -> None:
    opened = open_answer(SINGLE)
    assert only(read_answer(opened, expected())).text == b"4<|im_end|>"
    assert only(read_answer(bytearray(SINGLE), expected())).text == b"4<|im_end|>"
    assert only(read_answer(memoryview(SINGLE), expected())).text == b"4<|im_end|>"


@pytest.mark.parametrize("indent", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        {"text": "Hello"},
        {"text": "Hello", "return_logprob": True, "return_routed_experts": True},
        {"text": "Hello", "return_logprob": True, "return_text_in_logprobs": True},
        {"text": "Hello", "return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 2},
        {"text": ["Hello", "Hi there"], "return_prompt_token_ids": True, "rid": ["a", "b"]},
        {"text": ["Hello"], "sampling_params": {"n": 3, "max_new_tokens": 5}},
        {"text": "Hello", "return_logprob": True, "sampling_params": {"max_new_tokens": 0}},
        {"text": "Hello", "sampling_params": {"stop": ["a", "e"], "max_new_tokens": 50}},
    ],
)
def test_everything_a_simulated_worker_sends_is_believed(
    body: dict[str, Any], indent: bool
) -> None:
    data = simulated.encode(body)
    request = read_request(data)
    prompts = [np.array(simulated.encoded(text), dtype="<i4") for text in request.texts or ()]
    want = Expected.of(request, prompts, ask_logprobs=False, vocab_size=simulated.VOCAB_SIZE)
    answer = simulated.answer(data, indent=indent)
    items = msgspec.json.decode(answer)
    items = items if isinstance(items, list) else [items]
    found = read_answer(answer, want)
    assert len(found) == len(items) == request.items
    for item, raw in zip(found, items, strict=True):
        assert isinstance(item, AnswerItem)
        meta = raw["meta_info"]
        assert item.output_ids.tolist() == raw["output_ids"]
        assert item.text == raw["text"].encode()
        assert (item.rid, item.finish) == (meta["id"], meta["finish_reason"]["type"])
        assert [span.end for span in item.versions] == ([len(raw["output_ids"])] * 1)[
            : len(raw["output_ids"])
        ]
        if "output_token_logprobs" in meta and raw["output_ids"]:
            assert logprobs_of(item) == pytest.approx(
                [value for value, *_ in meta["output_token_logprobs"]], rel=1e-6
            )
        experts = meta.get("routed_experts")
        assert (item.routed_experts and bytes(item.routed_experts).decode()) == experts


@given(st.binary(max_size=60) | json_values.map(msgspec.json.encode))
def test_no_bytes_raise(data: bytes) -> None:
    for is_array in (False, True):
        assert len(read_answer(data, expected(n=2, is_array=is_array))) == 2


KEYS = st.sampled_from(
    [
        *("output_ids", "text", "prompt_token_ids", "finish_reason", "completion_tokens"),
        *("prompt_tokens", "weight_version", "weight_versions", "id", "routed_experts"),
        "output_token_logprobs",
    ]
)


@settings(max_examples=300)
@given(st.dictionaries(KEYS, json_values, max_size=3), st.booleans())
def test_no_values_raise(values: dict[str, Any], logprobs: bool) -> None:
    answer = msgspec.json.decode(SINGLE)
    for key, value in values.items():
        (answer if key in answer else answer["meta_info"])[key] = value
    found = read_answer(msgspec.json.encode(answer), expected(logprobs=logprobs))
    (item,) = found
    if isinstance(item, AnswerItem):
        assert len(item.logprobs) == 4 * len(item.output_ids)
        assert sum(span.end - span.start for span in item.versions) == len(item.output_ids)
    else:
        assert item in RefusalReason


@settings(max_examples=300)
@given(st.data())
def test_no_damage_raises(draw: st.DataObject) -> None:
    body = bytearray(TWO_SAMPLES)
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(body) - 1))
        body[place : place + draw.draw(st.integers(0, 2))] = draw.draw(st.binary(max_size=2))
    assert len(read_answer(body, expected([665], n=2, is_array=True))) == 2
