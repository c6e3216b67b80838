"""The OpenAI routes: chat and text completions, whole and streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.tiny import prompt_of

if TYPE_CHECKING:
    from tests.real.tiny import Worker

pytestmark = pytest.mark.real

MESSAGES = [{"role": "user", "content": "more tea"}]
PROMPT_TEXT = "<|im_start|>user more tea<|im_end|><|im_start|>assistant "
CHAT = {"messages": MESSAGES, "temperature": 0, "max_tokens": 12, "ignore_eos": True}


async def test_a_chat_answer_carries_the_ids_it_was_asked_for(worker: Worker) -> None:
    response = await worker.post(
        "/v1/chat/completions",
        **CHAT,
        logprobs=True,
        return_token_ids=True,
        return_meta_info=True,
        return_input_ids_in_sglext=True,
    )
    body = response.json()
    choice = body["choices"][0]
    prompt = worker.service.speller.encode(PROMPT_TEXT)
    same = await worker.generate(
        input_ids=prompt,
        sampling_params={"temperature": 0, "max_new_tokens": 12, "ignore_eos": True},
    )
    assert choice["prompt_token_ids"] == body["sglext"]["input_ids"] == prompt
    assert choice["response_token_ids"] == same["output_ids"]
    assert choice["message"]["content"] == same["text"]
    assert (choice["finish_reason"], choice["matched_stop"]) == ("length", None)
    assert len(choice["logprobs"]["content"]) == 12
    assert choice["meta_info"]["completion_tokens"] == 12
    assert body["usage"]["total_tokens"] == len(prompt) + 12
    assert body["metadata"]["weight_version"] == "default"


async def test_input_ids_replace_the_chat_template(worker: Worker) -> None:
    ids = prompt_of(7)
    response = await worker.post(
        "/v1/chat/completions", **CHAT, input_ids=ids, return_prompt_token_ids=True
    )
    assert response.json()["choices"][0]["prompt_token_ids"] == ids


async def test_a_chat_stream_spells_the_whole_answer(worker: Worker) -> None:
    whole = (await worker.post("/v1/chat/completions", **CHAT)).json()
    chunks = await worker.events(
        "/v1/chat/completions",
        **CHAT,
        stream_options={"include_usage": True},
        return_output_ids_in_sglext=True,
    )
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    spelled = "".join(delta.get("content", "") for delta in deltas)
    assert spelled == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"] == whole["usage"]
    assert len(chunks[-2]["sglext"]["output_ids"][0]) == 12
    assert chunks[-3]["choices"][0]["finish_reason"] == "length"


async def test_chat_errors_are_flat(worker: Worker) -> None:
    for body in (CHAT | {"messages": []}, CHAT | {"stream": True, "return_token_ids": True}):
        response = await worker.post("/v1/chat/completions", **body)
        assert response.status_code == 400
        assert response.json()["object"] == "error"


async def test_completions_answer_each_prompt_with_its_ids(worker: Worker) -> None:
    prompts = [prompt_of(3), prompt_of(5)]
    body = {"prompt": prompts, "max_tokens": 4, "ignore_eos": True, "return_token_ids": True}
    response = await worker.post("/v1/completions", **body, logprobs=1)
    choices = response.json()["choices"]
    assert [choice["prompt_token_ids"] for choice in choices] == prompts
    assert [len(choice["token_ids"]) for choice in choices] == [4, 4]
    assert len(choices[0]["logprobs"]["token_logprobs"]) == 4
    assert response.json()["usage"]["prompt_tokens"] == 8


async def test_streamed_completions_are_deltas(worker: Worker) -> None:
    body = {"prompt": "more tea", "max_tokens": 9, "temperature": 0, "ignore_eos": True}
    whole = (await worker.post("/v1/completions", **body, return_token_ids=True)).json()
    chunks = await worker.events("/v1/completions", **body, return_token_ids=True)
    parts = [chunk["choices"][0] for chunk in chunks]
    assert "".join(part["text"] for part in parts) == whole["choices"][0]["text"]
    ids = [token for part in parts for token in part["token_ids"]]
    assert ids == whole["choices"][0]["token_ids"]
    assert "prompt_token_ids" in parts[0]
    assert parts[-1]["finish_reason"] == "length"
