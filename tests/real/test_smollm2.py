"""The default model, a real one: SmolLM2-135M-Instruct from the wheel's GGUF file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.real.tiny import forward_logprobs

if TYPE_CHECKING:
    from tests.real.tiny import StartWorker

pytestmark = pytest.mark.real


async def test_smollm2_knows_paris_and_reports_what_one_forward_pass_says(
    start_worker: StartWorker,
) -> None:
    from examples.hf_worker.loading import find_source, load

    loaded = load(find_source(None, None), None)
    worker = await start_worker(loaded)
    questions = ["What is the capital of France?", "Name a colour."]
    speller = worker.service.speller
    # The model's own tokenizer adds no BOS; a GGUF read as another kind of tokenizer would.
    assert speller.encode("Hello") == [19556]
    chats = [speller.chat_text([{"role": "user", "content": question}]) for question in questions]
    prompts = [speller.encode(chat, add_special_tokens=False) for chat in chats]
    params = [
        {"temperature": 0, "max_new_tokens": 16},
        {"temperature": 0.8, "max_new_tokens": 16, "ignore_eos": True, "sampling_seed": 1},
    ]
    with trio.fail_after(60):
        answers = await worker.generate(
            input_ids=prompts, sampling_params=params, return_logprob=True
        )
    assert "Paris" in answers[0]["text"]
    assert len(answers[1]["output_ids"]) == 16
    for prompt, temperature, answer in zip(prompts, (1.0, 0.8), answers, strict=True):
        expected = forward_logprobs(loaded.model, prompt + answer["output_ids"], temperature)
        reported = [entry[0] for entry in answer["meta_info"]["output_token_logprobs"]]
        assert reported == pytest.approx(expected[len(prompt) - 1 :], abs=1e-3)
