from __future__ import annotations

from typing import Any

import pytest

from miles_router.sim import SimSettings
from miles_router.sim.tokenizer import load_tokenizer
from tests.sim.raw_client import open_client

BODY = {"prompt": "Hello", "max_tokens": 6, "seed": 5, "ignore_eos": True}


@pytest.mark.parametrize(
    ("prompt", "count"), [("Hello", 1), (["a", "b"], 2), ([5, 6], 1), ([[5], [6]], 2)]
)
async def test_prompts_in_all_their_forms(prompt: Any, count: int) -> None:
    async with open_client() as client:
        found = (await client.post("/v1/completions", {**BODY, "prompt": prompt})).json()
        assert [choice["index"] for choice in found["choices"]] == list(range(count))
        assert found["object"] == "text_completion"
        assert found["usage"]["completion_tokens"] == 6 * count


async def test_ids_and_log_probabilities_when_asked_for() -> None:
    async with open_client() as client:
        body = {**BODY, "return_token_ids": True, "logprobs": 2}
        (choice,) = (await client.post("/v1/completions", body)).json()["choices"]
    assert choice["prompt_token_ids"] == load_tokenizer().encode("Hello")
    assert len(choice["token_ids"]) == len(choice["logprobs"]["token_logprobs"]) == 6
    assert len(choice["logprobs"]["top_logprobs"]) == 6


@pytest.mark.parametrize("is_incremental", [True, False])
async def test_a_stream_carries_ids_as_deltas(is_incremental: bool) -> None:
    async with open_client(SimSettings(incremental_streaming=is_incremental)) as client:
        asked = {"stream": True, "return_token_ids": True}
        options = {"stream_options": {"include_usage": True}}
        events = (await client.post("/v1/completions", {**BODY, **asked, **options})).events()
        (plain,) = (
            await client.post("/v1/completions", {**BODY, **asked, "stream": False})
        ).json()["choices"]
    choices = [one["choices"][0] for one in events[:-1]]
    assert "".join(one["text"] for one in choices) == plain["text"]
    assert [token for one in choices for token in one["token_ids"]] == plain["token_ids"]
    assert ["prompt_token_ids" in one for one in choices] == [True] + [False] * 5
    assert choices[-1]["finish_reason"] == "length"
    assert events[-1]["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize("body", [{}, {"prompt": []}, {**BODY, "top_p": 7}])
async def test_refusals(body: dict[str, Any]) -> None:
    async with open_client() as client:
        found = await client.post("/v1/completions", body)
        assert (found.status, found.json()["type"]) == (400, "BadRequestError")


async def test_models() -> None:
    async with open_client(SimSettings(model_path="m", context_tokens=99)) as client:
        (card,) = (await client.get("/v1/models")).json()["data"]
        assert (card["id"], card["max_model_len"]) == ("m", 99)


async def test_tokenize_and_back() -> None:
    async with open_client() as client:
        for root in ("", "/v1"):
            tokens = (await client.post(f"{root}/tokenize", {"prompt": "Hi<|im_end|>"})).json()
            assert tokens["count"] == len(tokens["tokens"])
            body = {"tokens": tokens["tokens"]}
            assert (await client.post(f"{root}/detokenize", body)).json() == {"text": "Hi"}
            kept = {**body, "skip_special_tokens": False}
            text = (await client.post(f"{root}/detokenize", kept)).json()["text"]
            assert text == "Hi<|im_end|>"
        many = (await client.post("/tokenize", {"prompt": ["a", "bc"]})).json()
        back = await client.post("/detokenize", {"tokens": many["tokens"]})
        assert back.json() == {"text": ["a", "bc"]}
        assert (await client.post("/detokenize", {"tokens": "x"})).status == 400
        assert (await client.post("/tokenize", {"prompt": 5})).status == 400
