from __future__ import annotations

from typing import Any

import pytest

from miles_router.sim import SimSettings
from miles_router.sim.tokenizer import load_tokenizer, render_chat
from tests.sim.raw_client import open_client

MESSAGES = [{"role": "user", "content": "2+2?"}]
BODY = {"model": "m", "messages": MESSAGES, "max_tokens": 8, "seed": 5, "ignore_eos": True}


async def test_an_answer_with_everything_asked_for() -> None:
    async with open_client(SimSettings(weight_version="12")) as client:
        asked = {"logprobs": True, "return_token_ids": True, "return_meta_info": True}
        found = (await client.post("/v1/chat/completions", {**BODY, **asked})).json()
    (choice,) = found["choices"]
    assert (found["object"], found["model"]) == ("chat.completion", "m")
    prompt = load_tokenizer().encode(render_chat(MESSAGES))
    assert choice["prompt_token_ids"] == prompt
    ids = choice["response_token_ids"]
    assert choice["message"]["content"] == load_tokenizer().decode(ids)
    assert (choice["finish_reason"], choice["matched_stop"]) == ("length", None)
    meta = choice["meta_info"]
    assert [token for _, token, _ in meta["output_token_logprobs"]] == ids
    content = choice["logprobs"]["content"]
    assert [entry["logprob"] for entry in content] == [v for v, *_ in meta["output_token_logprobs"]]
    assert b"".join(bytes(e["bytes"]) for e in content) == b"".join(
        map(load_tokenizer().token_bytes, ids)
    )
    assert found["usage"]["prompt_tokens"] == len(prompt)
    assert found["usage"]["total_tokens"] == len(prompt) + 8
    assert found["metadata"] == {
        "weight_version": "12",
        "weight_versions": [{"version": "12", "start": 0, "end": 8}],
    }


async def test_nothing_that_was_not_asked_for() -> None:
    async with open_client() as client:
        found = (await client.post("/v1/chat/completions", BODY)).json()
    assert "sglext" not in found
    assert set(found["choices"][0]) == {
        *("index", "message", "logprobs", "finish_reason", "matched_stop")
    }
    assert found["choices"][0]["logprobs"] is None


async def test_input_ids_bypass_the_template_and_match_generate() -> None:
    async with open_client() as client:
        body = {**BODY, "input_ids": [9, 8, 7], "return_token_ids": True}
        chat = (await client.post("/v1/chat/completions", body)).json()["choices"][0]
        sampling = {"max_new_tokens": 8, "sampling_seed": 5, "ignore_eos": True}
        plain = await client.post(
            "/generate", {"input_ids": [9, 8, 7], "sampling_params": sampling}
        )
        assert chat["prompt_token_ids"] == [9, 8, 7]
        assert chat["response_token_ids"] == plain.json()["output_ids"]


@pytest.mark.parametrize("is_incremental", [True, False])
async def test_a_stream(is_incremental: bool) -> None:
    async with open_client(SimSettings(incremental_streaming=is_incremental)) as client:
        asked = {"stream": True, "n": 2, "stream_options": {"include_usage": True}}
        more = {"return_output_ids_in_sglext": True}
        found = await client.post("/v1/chat/completions", {**BODY, **asked, **more})
        events = found.events()
        plain = (await client.post("/v1/chat/completions", {**BODY, "n": 2})).json()
    assert [one["choices"][0]["delta"].get("role") for one in events[:2]] == ["assistant"] * 2
    for choice in plain["choices"]:
        pieces = [
            one["choices"][0]["delta"].get("content", "")
            for one in events
            if one["choices"] and one["choices"][0]["index"] == choice["index"]
        ]
        assert "".join(pieces) == choice["message"]["content"]
    reasons = [one["choices"][0]["finish_reason"] for one in events if one["choices"]]
    assert reasons.count("length") == 2
    assert [len(ids) for ids in events[-2]["sglext"]["output_ids"]] == [8, 8]
    assert events[-1]["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": "Hi"},
        {"messages": [{"content": "Hi"}]},
        {**BODY, "stream": True, "return_token_ids": True},
        {**BODY, "temperature": -1},
        {**BODY, "max_tokens": "many"},
        {**BODY, "input_ids": []},
    ],
)
async def test_refusals_are_flat_error_objects(body: dict[str, Any]) -> None:
    async with open_client() as client:
        found = await client.post("/v1/chat/completions", body)
        assert found.status == 400
        assert found.json()["object"] == "error"
        assert found.json()["type"] == "BadRequestError"


async def test_without_max_tokens_an_answer_may_fill_the_context() -> None:
    async with open_client(SimSettings(context_tokens=300)) as client:
        body = {"messages": MESSAGES, "ignore_eos": True}
        found = (await client.post("/v1/chat/completions", body)).json()
        assert found["usage"]["total_tokens"] == 300
