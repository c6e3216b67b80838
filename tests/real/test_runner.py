"""The numbers: what the worker reports is what one plain forward pass of the model says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.real.tiny import forward_logprobs, prompt_of, save_model, wait_steps

if TYPE_CHECKING:
    from pathlib import Path

    from examples.hf_worker.loading import Loaded
    from tests.real.tiny import StartWorker, Worker

pytestmark = pytest.mark.real

TOLERANCE = 1e-3
ARCHITECTURES = ["llama", "mistral-sliding", "mixtral", "gpt2"]


def check_against_forward(model: Any, prompt: list[int], answer: Any, temperature: float) -> None:
    ids = answer["output_ids"]
    entries = answer["meta_info"]["output_token_logprobs"]
    assert [entry[1] for entry in entries] == ids
    expected = forward_logprobs(model, prompt + ids, temperature)[len(prompt) - 1 :]
    assert [entry[0] for entry in entries] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
async def test_logprobs_of_a_mixed_batch_equal_one_forward_pass(
    architecture: str, start_worker: StartWorker, tmp_path: Path
) -> None:
    from examples.hf_worker.loading import find_source, load

    loaded = load(find_source(str(save_model(tmp_path, architecture)), None), None)
    worker = await start_worker(loaded)
    prompts = [prompt_of(size, seed=size) for size in (1, 7, 300, 30, 3)]
    params = [
        {"temperature": 0.5 + i / 4, "max_new_tokens": 8 + 5 * i, "ignore_eos": True}
        for i in range(len(prompts))
    ]
    with trio.fail_after(60):
        answers = await worker.generate(
            input_ids=prompts, sampling_params=params, return_logprob=True
        )
    for prompt, param, answer in zip(prompts, params, answers, strict=True):
        check_against_forward(loaded.model, prompt, answer, float(param["temperature"]))


async def test_logprobs_of_a_single_greedy_answer_are_unscaled(
    worker: Worker, tiny: Loaded
) -> None:
    prompt = prompt_of(9)
    params = {"temperature": 0, "max_new_tokens": 12, "ignore_eos": True}
    answer = await worker.generate(input_ids=prompt, sampling_params=params, return_logprob=True)
    check_against_forward(tiny.model, prompt, answer, 1.0)
    assert answer["meta_info"]["input_token_logprobs"] == []


@pytest.mark.parametrize("prefix_stored", [False, True])
@pytest.mark.parametrize("start", [0, 5, 255, 299, 300])
async def test_prompt_logprobs_begin_where_asked(
    start: int, prefix_stored: bool, worker: Worker, tiny: Loaded
) -> None:
    prompt = prompt_of(300)
    if prefix_stored:
        await worker.generate(input_ids=prompt, sampling_params={"max_new_tokens": 1})
    answer = await worker.generate(
        input_ids=prompt,
        sampling_params={"max_new_tokens": 1},
        return_logprob=True,
        logprob_start_len=start,
    )
    entries = answer["meta_info"]["input_token_logprobs"]
    assert [entry[1] for entry in entries] == prompt[start:]
    assert [entry[0] for entry in entries[:1]] == [None] * len(entries[:1])
    expected = forward_logprobs(tiny.model, prompt)[start:]
    assert [entry[0] for entry in entries[1:]] == pytest.approx(expected, abs=TOLERANCE)


async def test_requests_that_join_late_get_the_answers_they_get_alone(
    start_worker: StartWorker, tiny: Loaded
) -> None:
    worker = await start_worker(tiny, max_batch=3, cache_tokens=0)
    bodies = [
        {
            "input_ids": prompt_of(3 + 11 * i, seed=i),
            "sampling_params": {
                "sampling_seed": i,
                "max_new_tokens": 60 - 7 * i,
                "top_p": 0.9,
                "ignore_eos": True,
            },
        }
        for i in range(6)
    ]
    alone = [(await worker.generate(**body))["output_ids"] for body in bodies]
    together: dict[int, list[int]] = {}

    async def ask(i: int) -> None:
        await trio.sleep(0.01 * i)
        together[i] = (await worker.generate(**bodies[i]))["output_ids"]

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for i in range(len(bodies)):
                nursery.start_soon(ask, i)
    assert [together[i] for i in range(len(bodies))] == alone


async def test_the_next_turn_computes_only_what_is_new(worker: Worker, tiny: Loaded) -> None:
    prompt = prompt_of(40)
    params = {"max_new_tokens": 10, "ignore_eos": True}
    first = await worker.generate(input_ids=prompt, sampling_params=params)
    assert first["meta_info"]["cached_tokens"] == 0
    longer = prompt + first["output_ids"] + prompt_of(5, seed=1)
    second = await worker.generate(input_ids=longer, sampling_params=params, return_logprob=True)
    # The last token of an answer was never fed to the model, so nothing is stored for it.
    assert second["meta_info"]["cached_tokens"] == 49
    check_against_forward(tiny.model, longer, second, 1.0)
    assert (await worker.post("/flush_cache")).status_code == 200
    third = await worker.generate(input_ids=longer, sampling_params=params)
    assert third["meta_info"]["cached_tokens"] == 0


async def test_a_retracted_request_ends_as_if_undisturbed(worker: Worker) -> None:
    body = {
        "input_ids": prompt_of(20),
        "sampling_params": {"max_new_tokens": 400, "sampling_seed": 5, "ignore_eos": True},
        "return_logprob": True,
    }
    undisturbed = await worker.generate(**body)
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await worker.generate(**body))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_steps(worker, 20)
            await worker.post("/pause_generation", mode="retract")
            assert (await worker.post("/flush_cache")).status_code == 200
            assert not answers
            await worker.post("/continue_generation")
    assert answers[0]["output_ids"] == undisturbed["output_ids"]
    assert answers[0]["meta_info"]["num_retractions"] == 1
    before, after = (
        [entry[0] for entry in answer["meta_info"]["output_token_logprobs"]]
        for answer in (undisturbed, answers[0])
    )
    assert after == pytest.approx(before, abs=TOLERANCE)
