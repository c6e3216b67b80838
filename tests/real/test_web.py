"""The routes over loopback: forms of answers and errors, stops, streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.real.tiny import CONTEXT_TOKENS, prompt_of

if TYPE_CHECKING:
    from examples.hf_worker.loading import Loaded
    from tests.real.tiny import Worker

pytestmark = pytest.mark.real

GREEDY = {"temperature": 0, "max_new_tokens": 24, "ignore_eos": True}


async def test_an_answer_has_the_fields_of_the_contract(worker: Worker) -> None:
    prompt = prompt_of(4)
    answer = await worker.generate(
        rid="t1",
        input_ids=prompt,
        sampling_params=GREEDY,
        return_logprob=True,
        return_prompt_token_ids=True,
        return_text_in_logprobs=True,
    )
    meta = answer["meta_info"]
    assert answer["prompt_token_ids"] == prompt
    assert meta["id"] == "t1"
    assert meta["finish_reason"] == {"type": "length", "length": 24}
    assert (meta["prompt_tokens"], meta["completion_tokens"]) == (4, 24)
    assert meta["weight_version"] == "default"
    assert meta["weight_versions"] == [{"version": "default", "start": 0, "end": 24}]
    assert meta["output_token_logprobs_length"] == len(answer["output_ids"]) == 24
    assert "".join(entry[2] for entry in meta["output_token_logprobs"]) == answer["text"]
    assert meta["e2e_latency"] > 0


async def test_text_prompts_and_samples_come_back_prompt_by_prompt(worker: Worker) -> None:
    answers = await worker.generate(
        text=["the quick", "more tea"], sampling_params={"max_new_tokens": 3, "n": 2}
    )
    sizes = [answer["meta_info"]["prompt_tokens"] for answer in answers]
    speller = worker.service.speller
    expected = [len(speller.encode(text)) for text in ("the quick", "more tea")]
    assert sizes == [expected[0], expected[0], expected[1], expected[1]]
    assert len({answer["meta_info"]["id"] for answer in answers}) == 4


async def test_a_batch_of_one_is_a_list_and_numbers_its_rid(worker: Worker) -> None:
    answers = await worker.generate(
        input_ids=[prompt_of(3)], rid="b", sampling_params={"max_new_tokens": 1}
    )
    assert [answer["meta_info"]["id"] for answer in answers] == ["b_0"]


async def test_zero_new_tokens_give_one_logprob_and_no_token(worker: Worker) -> None:
    answer = await worker.generate(
        input_ids=prompt_of(3), sampling_params={"max_new_tokens": 0}, return_logprob=True
    )
    assert answer["output_ids"] == []
    assert answer["text"] == ""
    assert answer["meta_info"]["finish_reason"] == {"type": "length", "length": 0}
    assert len(answer["meta_info"]["output_token_logprobs"]) == 1


async def test_a_stop_string_ends_the_answer_and_is_cut_from_its_text(worker: Worker) -> None:
    prompt = prompt_of(6)
    free = await worker.generate(input_ids=prompt, sampling_params=GREEDY)
    stop = free["text"][8:11]
    at = free["text"].index(stop)
    cut = await worker.generate(input_ids=prompt, sampling_params=GREEDY | {"stop": [stop]})
    assert cut["meta_info"]["finish_reason"] == {"type": "stop", "matched": stop}
    assert cut["text"] == free["text"][:at]
    whole = await worker.generate(
        input_ids=prompt, sampling_params=GREEDY | {"stop": stop, "no_stop_trim": True}
    )
    assert whole["text"] == free["text"][: at + len(stop)]
    assert whole["output_ids"] == free["output_ids"][: len(whole["output_ids"])]


async def test_a_stop_token_stays_in_the_ids_and_leaves_the_text(worker: Worker) -> None:
    prompt = prompt_of(6)
    free = await worker.generate(input_ids=prompt, sampling_params=GREEDY)
    token = free["output_ids"][4]
    first = free["output_ids"].index(token)
    params = GREEDY | {"ignore_eos": False, "stop_token_ids": [token]}
    cut = await worker.generate(input_ids=prompt, sampling_params=params)
    assert cut["output_ids"] == free["output_ids"][: first + 1]
    assert cut["meta_info"]["finish_reason"] == {"type": "stop", "matched": token}
    assert cut["text"] == worker.service.speller.spell(cut["output_ids"][:-1])
    kept = await worker.generate(input_ids=prompt, sampling_params=params | {"no_stop_trim": True})
    assert kept["text"] == worker.service.speller.spell(cut["output_ids"])


async def test_min_new_tokens_keeps_stop_tokens_away(worker: Worker) -> None:
    prompt = prompt_of(6)
    free = await worker.generate(input_ids=prompt, sampling_params=GREEDY)
    token = free["output_ids"][0]
    params = GREEDY | {"ignore_eos": False, "stop_token_ids": [token], "min_new_tokens": 7}
    answer = await worker.generate(input_ids=prompt, sampling_params=params)
    assert len(answer["output_ids"]) >= 7
    assert token not in answer["output_ids"][:7]


async def test_special_tokens_are_shown_only_when_asked_for(worker: Worker, tiny: Loaded) -> None:
    prompt = prompt_of(5)
    eos = tiny.tokenizer.eos_token_id
    params = {"stop_token_ids": [], "max_new_tokens": 400, "temperature": 1.5, "sampling_seed": 3}
    plain = await worker.generate(input_ids=prompt, sampling_params=params)
    assert plain["output_ids"][-1] == eos
    assert plain["meta_info"]["finish_reason"] == {"type": "stop", "matched": eos}
    assert "<|im_end|>" not in plain["text"]
    shown = await worker.generate(
        input_ids=prompt,
        sampling_params=params | {"skip_special_tokens": False, "no_stop_trim": True},
    )
    assert shown["output_ids"] == plain["output_ids"]
    assert shown["text"].endswith("<|im_end|>")


async def test_a_stream_is_cumulative_and_ends_complete(worker: Worker) -> None:
    body = {"input_ids": prompt_of(6), "sampling_params": GREEDY, "return_logprob": True}
    whole = await worker.generate(**body)
    chunks = await worker.events("/generate", **body)
    counts = [chunk["meta_info"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(set(counts))
    assert all(chunk["meta_info"]["finish_reason"] is None for chunk in chunks[:-1])
    assert all("weight_versions" not in chunk["meta_info"] for chunk in chunks[:-1])
    for chunk in chunks:
        assert chunk["output_ids"] == whole["output_ids"][: len(chunk["output_ids"])]
        assert whole["text"].startswith(chunk["text"])
        assert len(chunk["meta_info"]["output_token_logprobs"]) == len(chunk["output_ids"])
    assert chunks[-1]["text"] == whole["text"]
    assert chunks[-1]["meta_info"]["finish_reason"] == {"type": "length", "length": 24}


async def test_a_streamed_batch_says_which_item_a_chunk_belongs_to(worker: Worker) -> None:
    prompts = [prompt_of(5), prompt_of(9)]
    chunks = await worker.events("/generate", input_ids=prompts, sampling_params=GREEDY)
    last = {chunk["index"]: chunk for chunk in chunks}
    assert [last[i]["meta_info"]["prompt_tokens"] for i in (0, 1)] == [5, 9]
    assert all(last[i]["meta_info"]["finish_reason"]["type"] == "length" for i in (0, 1))


async def test_stream_interval_groups_tokens(worker: Worker) -> None:
    params = GREEDY | {"stream_interval": 10}
    chunks = await worker.events("/generate", input_ids=prompt_of(5), sampling_params=params)
    assert [len(chunk["output_ids"]) for chunk in chunks] == [1, 11, 21, 24]


async def test_a_stream_never_shows_the_start_of_a_stop_string(worker: Worker) -> None:
    prompt = prompt_of(6)
    free = await worker.generate(input_ids=prompt, sampling_params=GREEDY)
    stop = free["text"][8:14]
    params = GREEDY | {"stop": stop}
    chunks = await worker.events("/generate", input_ids=prompt, sampling_params=params)
    assert all(chunks[-1]["text"].startswith(chunk["text"]) for chunk in chunks)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text": "a", "sampling_params": {"seed": 1}}, "unknown field `seed`"),
        ({"text": "a", "sampling_params": {"max_new_tokens": "9"}}, "max_new_tokens"),
        ({"text": 3}, "text"),
        ({"text": "a", "stream": "yes"}, "stream"),
    ],
)
async def test_a_broken_contract_is_a_string_error(
    body: dict[str, Any], message: str, worker: Worker
) -> None:
    response = await worker.post("/generate", **body)
    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Either text, input_ids"),
        ({"input_ids": []}, "cannot be empty"),
        ({"input_ids": [10**6]}, "must be in [0, "),
        ({"input_ids": [2] * CONTEXT_TOKENS}, "longer than the model's context length (2048"),
        ({"input_ids": [2], "sampling_params": {"max_new_tokens": 9999}}, "exceed the context"),
        ({"input_ids": [2], "sampling_params": {"top_p": 0}}, "top_p"),
        ({"input_ids": [2], "sampling_params": {"regex": "a+"}}, "regex is not available"),
        ({"input_ids": [2], "top_logprobs_num": 3}, "top_logprobs_num is not available"),
        ({"input_ids": [[2], [3]], "rid": ["x", "x"]}, "Duplicate request ID detected: x"),
    ],
)
async def test_a_refused_request_is_an_error_object(
    body: dict[str, Any], message: str, worker: Worker
) -> None:
    for stream in (False, True):
        response = await worker.post("/generate", **body, stream=stream)
        assert response.status_code == 400
        assert message in response.json()["error"]["message"]


async def test_malformed_json_is_a_flat_error(worker: Worker) -> None:
    response = await worker.client.post("/generate", content=b"{nope")
    assert response.status_code == 400
    assert response.json()["object"] == "error"


async def test_the_worker_describes_itself(worker: Worker) -> None:
    client = worker.client
    for path in ("/health", "/health_generate", "/ready"):
        response = await client.get(path)
        assert (response.status_code, response.content) == (200, b"")
    info = (await client.get("/model_info")).json()
    assert info == (await client.get("/get_model_info")).json()
    assert (info["weight_version"], info["model_type"]) == ("default", "llama")
    assert info["architectures"] == ["LlamaForCausalLM"]
    models = (await client.get("/v1/models")).json()
    assert models["data"][0]["id"] == info["served_model_name"]
    assert (await client.get("/server_info")).json()["context_tokens"] == CONTEXT_TOKENS
