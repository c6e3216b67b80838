from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.generate.answer import read_answer
from miles_router.core.generate.items import AnswerItem, Expected
from miles_router.core.generate.usual import MOST_BYTES, read_usual

VOCAB = 100
PROMPT = np.array([1, 2, 3], "<i4")


def expecting(*, n: int = 1, is_array: bool = False, asks: bool = True) -> Expected:
    return Expected(
        prompt_ids=(PROMPT,), n=n, is_array=is_array, asks_logprobs=(asks,), vocab_size=VOCAB
    )


def said(ids: list[int], **changes: Any) -> dict[str, Any]:
    meta = {
        "id": "r",
        "finish_reason": {"type": "stop", "matched": 2},
        "prompt_tokens": 3,
        "completion_tokens": len(ids),
        "weight_version": "7",
        "output_token_logprobs": [[-0.5 - place, one, None] for place, one in enumerate(ids)],
        "output_token_logprobs_length": len(ids),
    }
    meta |= changes
    return {"text": "some text", "output_ids": ids, "meta_info": meta}


def values(item: object) -> object:
    if not isinstance(item, AnswerItem):
        return item
    fields = {name: getattr(item, name) for name in item.__struct_fields__}
    return {**fields, "output_ids": item.output_ids.tolist()}


def assert_as_read_answer(body: bytes, expected: Expected) -> bool:
    usual = read_usual(body, expected)
    if usual is None:
        return False
    assert [values(usual)] == [values(one) for one in read_answer(body, expected)]
    assert not usual.output_ids.flags.writeable
    return True


def test_the_usual_answer_is_read() -> None:
    body = json.dumps(said([5, 6, 7])).encode()
    assert assert_as_read_answer(body, expecting())
    assert assert_as_read_answer(body, expecting(asks=False))
    assert assert_as_read_answer(body.replace(b", ", b" ,\n"), expecting())


@pytest.mark.parametrize(
    "changes",
    [
        {"finish_reason": None},
        {"finish_reason": {"type": "abort", "status_code": 500}},
        {"finish_reason": {"type": "abort"}},
        {"finish_reason": {"type": "other"}},
        {"prompt_tokens": 4},
        {"completion_tokens": 2},
        {"output_token_logprobs_length": 2},
        {"output_token_logprobs_length": 0},
        {"output_token_logprobs": None},
        {"output_token_logprobs": [[-0.5, 5, None]]},
        {"output_token_logprobs": [[-0.5, 5, None], [-0.5, 6, None], [None, 7, None]]},
        {"output_token_logprobs": [[-0.5, 5, None], [-0.5, 6, None], [-0.5, 8, None]]},
        {"weight_versions": [{"version": "7", "start": 0, "end": 3}]},
        {"routed_experts": "AAAA"},
        {"id": 5},
    ],
)
def test_what_is_not_usual_is_left_to_others(changes: dict[str, Any]) -> None:
    body = json.dumps(said([5, 6, 7], **changes)).encode()
    assert read_usual(body, expecting()) is None


def test_other_shapes_and_sizes_are_left_to_others() -> None:
    body = json.dumps(said([5, 6, 7])).encode()
    assert read_usual(body, expecting(is_array=True)) is None
    assert read_usual(b"[" + body + b"]", expecting()) is None
    assert read_usual(b" " * MOST_BYTES + body, expecting()) is None
    assert read_usual(json.dumps(said([])).encode(), expecting()) is None
    assert read_usual(json.dumps(said([5, VOCAB])).encode(), expecting()) is None
    named = {**said([5]), "prompt_token_ids": [1, 2, 3]}
    assert read_usual(json.dumps(named).encode(), expecting()) is None


NUMBERS = st.sampled_from([None, 0, 1, 2, 3, 4, 99, 100, -1, 2**31, 1.5, "3", True])


@given(
    ids=st.lists(st.integers(0, VOCAB + 1), max_size=4),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": NUMBERS,
            "completion_tokens": NUMBERS,
            "output_token_logprobs_length": NUMBERS,
            "weight_version": st.sampled_from([None, "8", 7, ""]),
            "weight_versions": st.sampled_from(
                [None, [], [{"version": "8", "start": 0, "end": 1}]]
            ),
            "routed_experts": st.sampled_from([None, "", "AAAA", 5]),
            "id": st.sampled_from([None, "x", 5]),
            "finish_reason": st.sampled_from(
                [
                    None,
                    {},
                    {"type": "length"},
                    {"type": "abort"},
                    {"type": "stop", "status_code": 4},
                ]
            ),
            "output_token_logprobs": st.lists(
                st.tuples(
                    st.sampled_from([-0.5, 0, 0.009, 1, None, -1e39]),
                    st.integers(-1, VOCAB),
                    st.sampled_from([None, "t", 5]),
                ),
                max_size=4,
            ),
        },
    ),
    top=st.fixed_dictionaries(
        {},
        optional={
            "text": st.sampled_from([None, "", "t\u00e9", 5]),
            "output_ids": st.sampled_from([None, [1.5], ["a"], [-1], [2**31]]),
            "prompt_token_ids": st.sampled_from([None, [1, 2, 3]]),
            "error": st.just("x"),
        },
    ),
    asks=st.booleans(),
    extra=st.sampled_from([b"", b"x", b",", b'{"text": "again"}']),
)
def test_what_is_read_is_what_judging_makes_of_it(
    ids: list[int], changes: dict[str, Any], top: dict[str, Any], asks: bool, extra: bytes
) -> None:
    body = json.dumps({**said(ids, **changes), **top}).encode() + extra
    assert_as_read_answer(body, expecting(asks=asks))
