from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from miles_router.core.generate.opened import open_answer, stripped
from miles_router.core.generate.reasons import Uncached
from miles_router.core.generate.request import read_request
from miles_router.core.generate.rewrite import (
    LOGPROB_KEYS,
    ROUTED_EXPERTS_KEYS,
    drops,
    rewritten,
    rids_of,
)
from miles_router.core.generate.splice import MEMBERS
from miles_router.core.request import find_rids
from miles_router.sim import SimSettings
from tests.core.generate import simulated
from tests.core.generate.test_splice import json_values, styles, written

ONE = np.array([5, 6], dtype="<i4")
TWO = np.array([7], dtype="<i4")


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b'{"text":"a"}', b'{"input_ids":[5,6],"rid":"r","return_logprob":true}'),
        (
            b'{ "stream" : false, "text" : "a" , "x": 1.0 }\n',
            b'{ "stream" : false, "input_ids" : [5,6] , "x": 1.0,"rid":"r",'
            b'"return_logprob":true }\n',
        ),
        (
            b'{"return_logprob":false,"t\\u0065xt":"a","rid":null}',
            b'{"return_logprob":true,"input_ids":[5,6],"rid":"r"}',
        ),
        (
            b'{"input_ids":null,"text":"a","rid":"mine","return_logprob":null}',
            b'{"input_ids":[5,6],"rid":"mine","return_logprob":true}',
        ),
        (
            b'{"text":"a","return_logprob":true,"logprob_start_len":0,"input_ids":null}',
            b'{"input_ids":[5,6],"return_logprob":true,"logprob_start_len":0,"rid":"r"}',
        ),
        (
            b'{"text":"a","logprob_start_len":0,"return_logprob":false}',
            b'{"input_ids":[5,6],"logprob_start_len":-1,"return_logprob":true,"rid":"r"}',
        ),
        (
            b'{"text":"a","sampling_params":{"n":2}}',
            b'{"input_ids":[5,6],"sampling_params":{"n":2},"return_logprob":true}',
        ),
    ],
)
def test_only_what_must_change_changes(body: bytes, result: bytes) -> None:
    found = rewritten(
        read_request(body), [ONE], rids=["r"], ask_logprobs=True, ask_routed_experts=None
    )
    assert found == result


def test_a_batch() -> None:
    request = read_request(b'{"text":["a","b"],"return_logprob":[true,false]}')
    found = rewritten(
        request, [ONE, TWO], rids=["r", "s"], ask_logprobs=True, ask_routed_experts=[9, 4]
    )
    assert json.loads(found) == {
        "input_ids": [[5, 6], [7]],
        "return_logprob": True,
        "rid": ["r", "s"],
        "return_routed_experts": True,
        "routed_experts_start_len": 4,
    }
    assert drops(request, ask_logprobs=True, ask_routed_experts=True) == (
        ROUTED_EXPERTS_KEYS,
        LOGPROB_KEYS | ROUTED_EXPERTS_KEYS,
    )


def test_prompt_log_probabilities_only_where_the_client_wants_them() -> None:
    body = b'{"text":["a","b"],"return_logprob":[true,false],"logprob_start_len":%b}'
    for given_start, wanted in ((b"0", [0, -1]), (b"[null,3]", [-1, -1]), (b'"x"', "x")):
        found = rewritten(
            read_request(body % given_start),
            [ONE, TWO],
            rids=["r", "s"],
            ask_logprobs=True,
            ask_routed_experts=None,
        )
        assert json.loads(found)["logprob_start_len"] == wanted


def test_a_batch_of_one_stays_a_batch() -> None:
    found = rewritten(
        read_request(b'{"text":["a"]}'),
        [ONE],
        rids=["r"],
        ask_logprobs=False,
        ask_routed_experts=None,
    )
    assert json.loads(found) == {"input_ids": [[5, 6]], "rid": ["r"]}


def test_a_client_that_asks_itself_gets_what_it_asks_for() -> None:
    body = (
        b'{"text":"a","rid":"r","return_logprob":true,"return_routed_experts":true,'
        b'"routed_experts_start_len":1}'
    )
    request = read_request(body)
    found = rewritten(request, [ONE], rids=["x"], ask_logprobs=True, ask_routed_experts=[0])
    assert found == body.replace(b'"text":"a"', b'"input_ids":[5,6]')
    assert drops(request, ask_logprobs=True, ask_routed_experts=True) == (frozenset(),)


def test_nothing_asked_for_is_nothing_to_take_out() -> None:
    request = read_request(b'{"text":"a","sampling_params":{"n":2}}')
    assert drops(request, ask_logprobs=False, ask_routed_experts=False) == (frozenset(),) * 2
    assert drops(request, ask_logprobs=True, ask_routed_experts=False) == (LOGPROB_KEYS,) * 2


def test_wrong_use_is_an_error() -> None:
    def rewrite(body: bytes, ids: list[Any], rids: list[str]) -> bytes:
        return rewritten(
            read_request(body), ids, rids=rids, ask_logprobs=False, ask_routed_experts=None
        )

    for body, ids, rids in (
        (b'{"input_ids":[5]}', [ONE], ["r"]),
        (b'{"text":"a"}', [ONE, TWO], ["r"]),
        (b'{"text":"a"}', [ONE], []),
    ):
        with pytest.raises(ValueError, match="for"):
            rewrite(body, ids, rids)


@given(
    st.dictionaries(st.text(), json_values, max_size=4),
    styles,
    st.permutations(
        ["text", "rid", "return_logprob", "return_routed_experts", "logprob_start_len"]
    ),
    st.data(),
)
def test_every_other_member_keeps_its_bytes_and_its_place(
    others: dict[str, Any], style: dict[str, Any], names: list[str], draw: st.DataObject
) -> None:
    known = {
        "text": st.text(),
        "rid": st.none() | st.text(),
        "return_logprob": st.none() | st.booleans(),
        "return_routed_experts": st.none() | st.booleans(),
        "logprob_start_len": st.none() | st.integers(-1, 5),
    }
    own = {"input_ids", "routed_experts_start_len"}
    kept = [name for name in names if name == "text" or draw.draw(st.booleans())]
    body = others | {name: draw.draw(known[name]) for name in kept}
    keys = draw.draw(st.permutations(sorted(body)))
    data = written({key: body[key] for key in keys}, style)
    assume(not own & set(body))
    try:  # hypothesis takes names of members from the source that it tests
        request = read_request(data)
    except Uncached:
        assert set(others) - set(known)
        return
    found = rewritten(request, [ONE], rids=["r"], ask_logprobs=True, ask_routed_experts=[2])
    before, after = MEMBERS.decode(data), MEMBERS.decode(found)
    renamed = ["input_ids" if key == "text" else key for key in keys]
    assert list(after)[: len(keys)] == renamed
    for key in set(others) - set(known):
        assert bytes(after[key]) == bytes(before[key])
    read = json.loads(found)
    assert read["input_ids"] == [5, 6]
    assert read["rid"] == (body.get("rid") if body.get("rid") is not None else "r")
    assert (read["return_logprob"], read["return_routed_experts"]) == (True, True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        {"text": "Hello there", "rid": "x"},
        {"text": "Hello there", "rid": "x", "return_logprob": True, "logprob_start_len": 0},
        {"text": "Hello there", "rid": "x", "logprob_start_len": 0, "top_logprobs_num": 2},
        {"text": "Hello", "rid": "x", "token_ids_logprob": [5], "return_prompt_token_ids": True},
        {"text": "Hello", "rid": "x", "return_routed_experts": True, "return_logprob": False},
        {"text": ["Hello", "Hi"], "rid": "x", "return_logprob": [False, True]},
        {"text": ["Hello", "Hi"], "rid": ["x", "y"]},
        {"text": ["Hello"], "rid": "x"},
    ],
)
def test_a_client_sees_the_answer_it_would_have_had_without_a_router(
    body: dict[str, Any], stream: bool, incremental: bool
) -> None:
    settings = SimSettings(incremental_streaming=incremental)
    sampling = {"max_new_tokens": 3, "sampling_seed": 7}
    data = simulated.encode({**body, "sampling_params": sampling, "stream": stream})
    request = read_request(data)
    ids = [np.array(simulated.encoded(text), dtype="<i4") for text in request.texts or ()]
    sent = rewritten(
        request, ids, rids=["z"] * len(ids), ask_logprobs=True, ask_routed_experts=[0] * len(ids)
    )
    taken = drops(request, ask_logprobs=True, ask_routed_experts=True)
    if not stream:
        found = open_answer(simulated.answer(sent, settings))
        assert b"".join(stripped(found, taken)) == simulated.answer(data, settings)
        return
    direct, routed = simulated.events(data, settings), simulated.events(sent, settings)
    assert len(direct) == len(routed) > 3
    for one, other in zip(direct, routed, strict=True):
        payload = other.removeprefix(b"data: ")[:-2]
        if payload == b"[DONE]":
            assert one == other
            continue
        index = json.loads(payload).get("index", 0)
        shown = b"".join(stripped(open_answer(payload), [taken[index]]))
        assert b"data: " + shown + b"\n\n" == one


@pytest.mark.parametrize("rid", ["absent", None, "", "mine", ["r"], ["r", "s"], ["", ""]])
@pytest.mark.parametrize("prompts", ["a", ["a"], ["a", "b"]])
@pytest.mark.parametrize("n", [None, 1, 2])
@pytest.mark.parametrize("are_ids", [False, True])
def test_the_ids_of_a_request_are_those_in_its_body(
    rid: Any, prompts: Any, n: int | None, are_ids: bool
) -> None:
    count = 1 if isinstance(prompts, str) else len(prompts)
    body: dict[str, Any] = {"text": prompts, "sampling_params": {"n": n}}
    if are_ids:
        body = {**body, "text": None, "input_ids": [1, 2] if prompts == "a" else [[1, 2]] * count}
    if rid != "absent":
        body["rid"] = rid
    try:
        request = read_request(json.dumps(body).encode())
    except Uncached:  # its rids are not as many as its prompts
        return
    made: list[str] = [] if are_ids else ["made-1", "made-2"][:count]
    sent = request.body
    if not are_ids:
        ids = [np.array([1, 2], "<i4")] * count
        sent = rewritten(request, ids, rids=made, ask_logprobs=True, ask_routed_experts=None)
    assert rids_of(request, made) == find_rids(sent)
