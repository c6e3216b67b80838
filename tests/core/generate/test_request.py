from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miles_router.core.generate.reasons import RefusalReason, Uncached
from miles_router.core.generate.request import (
    MAX_ITEMS,
    GenerateRequest,
    Sampling,
    read_request,
)
from tests.core.generate.test_splice import json_values


def read(**body: Any) -> GenerateRequest:
    return read_request(json.dumps(body).encode())


def refusal(body: bytes) -> str:
    with pytest.raises(Uncached) as caught:
        read_request(body)
    return caught.value.reason


def test_a_plain_request() -> None:
    found = read(text="Hi")
    assert (found.texts, found.ids, found.prompts, found.items) == (("Hi",), None, 1, 1)
    assert (found.is_list, found.is_array_answer, found.is_stream, found.n) == (False,) * 3 + (1,)
    assert (found.rid, found.rids) == (None, None)
    assert found.asks_logprobs == found.asks_routed_experts == (False,)
    assert found.routed_experts_start == 0
    assert found.sampling == (Sampling(None, skip_special_tokens=True, no_stop_trim=False),)


def test_everything_said() -> None:
    found = read(
        rid="t1",
        text="Hi",
        sampling_params={
            "max_new_tokens": 8,
            "no_stop_trim": True,
            "skip_special_tokens": False,
            "temperature": 0.5,
            "stop": ["x"],
        },
        stream=True,
        return_logprob=True,
        return_prompt_token_ids=True,
        return_routed_experts=True,
        routed_experts_start_len=3,
        unheard_of={"deep": [1]},
    )
    assert found.sampling == (Sampling(8, skip_special_tokens=False, no_stop_trim=True),)
    assert (found.is_stream, found.rids, found.routed_experts_start) == (True, ("t1",), 3)
    assert found.asks_logprobs == found.asks_routed_experts == (True,)


def test_ids_are_the_truth_where_a_request_brings_both() -> None:
    found = read(text=["a", "b"], input_ids=[[5], [6, 7]])
    assert found.texts is None
    assert found.ids is not None
    assert [one.tolist() for one in found.ids] == [[5], [6, 7]]


@pytest.mark.parametrize(
    ("body", "n", "items", "is_array"),
    [
        ({"text": "a", "sampling_params": {"n": 3}}, 3, 3, True),
        ({"text": ["a"]}, 1, 1, True),
        ({"text": ["a", "b"], "sampling_params": {"n": 2}}, 2, 4, True),
        ({"text": ["a", "b"], "sampling_params": [{"n": 2}, {"n": 2}]}, 2, 4, True),
        ({"text": ["a", "b"], "sampling_params": [{}, None]}, 1, 2, True),
        ({"text": "a", "sampling_params": None}, 1, 1, False),
        ({"text": "a", "sampling_params": {"n": None}}, 1, 1, False),
        ({"text": "a", "sampling_params": {"n": 0}}, 1, 1, False),
        ({"input_ids": [1, 2], "sampling_params": [{"n": 1}]}, 1, 1, False),
    ],
)
def test_how_many_answers(body: dict[str, Any], n: int, items: int, is_array: bool) -> None:
    found = read(**body)
    assert (found.n, found.items, found.is_array_answer) == (n, items, is_array)


@pytest.mark.parametrize(
    ("body", "rids"),
    [
        ({"text": "a", "rid": "x"}, ("x",)),
        ({"text": ["a", "b"], "rid": "x"}, ("x_0", "x_1")),
        ({"text": ["a"], "rid": "x"}, ("x_0",)),
        ({"text": ["a", "b"], "rid": ["x", "y"]}, ("x", "y")),
        ({"text": ["a", "b"], "rid": None}, None),
        ({"text": "a", "rid": "x", "sampling_params": {"n": 2}}, None),
    ],
)
def test_the_ids_that_items_run_under(body: dict[str, Any], rids: tuple[str, ...] | None) -> None:
    assert read(**body).rids == rids


def test_what_each_prompt_asks_for() -> None:
    found = read(
        text=["a", "b"],
        return_logprob=[True, None],
        sampling_params=[{"max_new_tokens": 1}, {"no_stop_trim": True}],
    )
    assert found.asks_logprobs == (True, False)
    assert found.sampling == (Sampling(1), Sampling(None, no_stop_trim=True))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"<html>", "not_json"),
        (b'{"text":"a"', "not_json"),
        (b'{"text":"a"} x', "not_json"),
        (b'{"text":"a","temperature":NaN}', "not_json"),
        (b'{"\xff":1}', "not_json"),
        (b'{"text":' + b"[" * 100_000, "not_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b'{"text":"a","text":"b"}', "duplicate_keys"),
        (b"{}", "no_prompt"),
        (b'{"text":5}', "bad_prompt"),
        (b'{"text":"\\ud800"}', "bad_text"),
        (b'{"text":"\\uDC00x"}', "bad_text"),
        (b'{"text":["a","\\ud83d"],"x":1}', "bad_text"),
        (b'{"text":"\xff"}', "bad_text"),
        (b'{"text":"\\ud800"', "not_json"),
        (b'{"input_ids":["a"]}', "bad_input_ids"),
        (b'{"text":"a","input_embeds":[[0.5]]}', "embeddings"),
        (b'{"text":"a","image_data":"u"}', "multimodal"),
        (b'{"text":"a","video_data":["u"]}', "multimodal"),
        (b'{"text":"a","audio_data":[null]}', "multimodal"),
        (b'{"text":"a","session_params":{}}', "worker_session"),
        (b'{"text":"a","session_id":"s"}', "worker_session"),
        (b'{"text":"a","rid":5}', "bad_rid"),
        (b'{"text":"a","rid":["x"]}', "batch_shape"),
        (b'{"text":["a","b"],"rid":["x"]}', "batch_shape"),
        (b'{"text":"a","stream":1}', "bad_field"),
        (b'{"text":"a","return_logprob":"true"}', "bad_field"),
        (b'{"text":["a","b"],"return_logprob":[true]}', "batch_shape"),
        (b'{"text":"a","routed_experts_start_len":"0"}', "bad_field"),
        (b'{"text":"a","routed_experts_start_len":1.5}', "bad_field"),
        (b'{"text":"a","sampling_params":5}', "bad_sampling_params"),
        (b'{"text":"a","sampling_params":{"max_new_tokens":"8"}}', "bad_sampling_params"),
        (b'{"text":"a","sampling_params":{"n":1e400}}', "bad_sampling_params"),
        (b'{"text":"a","sampling_params":{"n":-1}}', "batch_shape"),
        (b'{"text":["a","b"],"sampling_params":[{}]}', "batch_shape"),
        (b'{"text":["a","b"],"sampling_params":[{"n":1},{"n":2}]}', "batch_shape"),
    ],
)
def test_what_is_the_workers_business_alone(body: bytes, reason: str) -> None:
    assert refusal(body) == reason


def test_null_is_as_good_as_absent() -> None:
    names = ("image_data", "input_embeds", "session_id", "stream", "rid", "return_logprob")
    found = read(text="a", **dict.fromkeys(names))
    assert (found.is_stream, found.rids, found.asks_logprobs) == (False, None, (False,))


def test_a_request_for_a_thousand_million_samples_costs_nothing() -> None:
    assert refusal(b'{"text":"a","sampling_params":{"n":1000000000}}') == "batch_shape"
    assert read(text="a", sampling_params={"n": MAX_ITEMS}).items == MAX_ITEMS


def test_long_texts_come_through() -> None:
    text = "ü" * 5_000_000
    assert read(text=text).texts == (text,)


def reads_or_refuses(body: bytes) -> None:
    try:
        found = read_request(body)
    except Uncached as uncached:
        found = None
        reason = uncached.reason
    if found is None:
        assert reason in RefusalReason
    else:
        assert found.items >= found.prompts >= 1
        for text in found.texts or ():
            assert text.encode().decode() == text


KEYS = [
    *("text", "input_ids", "input_embeds", "rid", "sampling_params", "return_logprob"),
    *("stream", "return_routed_experts", "routed_experts_start_len", "image_data", "session_id"),
]


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    reads_or_refuses(body)


@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_no_object_raises_anything_else(body: dict[str, Any]) -> None:
    reads_or_refuses(json.dumps(body).encode())


@settings(max_examples=200)
@given(st.data())
def test_no_damage_raises_anything_else(draw: st.DataObject) -> None:
    body = bytearray(
        b'{"text":["a\\u00e9","b"],"rid":["x","y"],"sampling_params":[{"n":2},{"n":2}],'
        b'"return_logprob":[true,false],"stream":true,"input_ids":[[1,2],[3]]}'
    )
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(body) - 1))
        body[place : place + draw.draw(st.integers(0, 2))] = draw.draw(st.binary(max_size=2))
    reads_or_refuses(bytes(body))


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, 1, 2, -1, 1.5, "x", "", [], ["x"], {}, [True]]
)
PARAMS = st.dictionaries(
    st.sampled_from(["n", "max_new_tokens", "skip_special_tokens", "no_stop_trim", "top_p"]), ODD
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "text": st.sampled_from(["Hi", "", None, ["Hi"], 5]),
            "input_ids": st.sampled_from([None, [5], [[5]]]),
            "sampling_params": PARAMS | ODD | st.lists(PARAMS, max_size=1),
            "rid": ODD,
            "stream": ODD,
            "return_logprob": ODD,
            "return_routed_experts": ODD,
            "routed_experts_start_len": ODD,
            "image_data": ODD,
            "session_id": ODD,
            "input_embeds": ODD,
        },
    )
)
def test_a_request_that_is_read_at_once_is_read_as_member_by_member(body: dict[str, Any]) -> None:
    def outcome() -> object:
        try:
            found = read_request(json.dumps(body).encode())
        except Uncached as refused:
            return refused.reason
        ids = None if found.ids is None else [one.tolist() for one in found.ids]
        others = {name: getattr(found, name) for name in found.__struct_fields__ if name != "ids"}
        return {**others, "ids": ids}

    at_once = outcome()
    with patch("miles_router.core.generate.request._plain", lambda *_: None):
        assert outcome() == at_once
