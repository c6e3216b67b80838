from __future__ import annotations

import random
from typing import Any

import pytest

from miles_router.sim.batch import Batch, BatchParser
from miles_router.sim.refusals import RequestRefused
from miles_router.sim.tokenizer import load_tokenizer


def parse(body: dict[str, Any], context_tokens: int = 100) -> Batch:
    parser = BatchParser(load_tokenizer(), context_tokens=context_tokens, rng=random.Random(0))
    return parser.parse(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Either text, input_ids or input_embeds should be provided."),
        (
            {"text": "a", "input_ids": [1], "input_embeds": [[0.5]]},
            "Either text, input_ids or input_embeds should be provided.",
        ),
        ({"input_ids": []}, "input_ids cannot be empty."),
        (
            {"input_ids": [5] * 100},
            "The input (100 tokens) is longer than the model's context length (100 tokens).",
        ),
        (
            {"input_ids": [5] * 90, "sampling_params": {"max_new_tokens": 11}},
            "Requested token count exceeds the model's maximum context length of 100 tokens. "
            "You requested a total of 101 tokens: 90 tokens from the input messages and 11 tokens "
            "for the completion.",
        ),
        (
            {"text": ["a", "b"], "rid": ["r"]},
            "The specified rids length mismatch with the batch_size for batch processing.",
        ),
        (
            {"text": ["a", "b"], "rid": ["r", "r"]},
            "Duplicate request IDs detected within the request: ['r']",
        ),
        (
            {"text": ["a", "b"], "sampling_params": [{"n": 1}, {"n": 2}]},
            "The parallel_sample_num should be the same for all samples in sample params.",
        ),
        (
            {"text": "a", "return_hidden_states": True},
            "The server is not configured to return hidden states.",
        ),
        (
            {"text": ["a", "b"], "return_hidden_states": [False, "last"]},
            "The server is not configured to return hidden states.",
        ),
        ({"text": "a", "routed_dp_rank": 1}, "routed_dp_rank=1 out of range [0, 1)"),
        ({"text": "a", "routed_dp_rank": -1}, "routed_dp_rank=-1 out of range [0, 1)"),
        ({"text": "a", "data_parallel_rank": 3}, "routed_dp_rank=3 out of range [0, 1)"),
        (
            {"text": "a", "session_id": "x", "session_params": {"id": "y"}},
            "session_id and session_params cannot both be set.",
        ),
        ({"input_ids": [4000]}, "The input_ids 4000 contains values greater than the vocab size"),
    ],
)
def test_values_sglang_refuses(body: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse(body)
    assert refused.value.status == 400
    assert refused.value.body["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    "more",
    [
        {"return_hidden_states": False},
        {"return_hidden_states": [False]},
        {"routed_dp_rank": 0},
        {"routed_dp_rank": 0, "data_parallel_rank": 5},
        {"session_id": "x"},
        {"session_params": {"id": "x"}},
    ],
)
def test_what_any_server_takes(more: dict[str, Any]) -> None:
    assert len(parse({"text": "a", **more}).items) == 1


def test_a_single_prompt_keeps_its_id_and_text() -> None:
    batch = parse({"text": "Hello there", "rid": "t1"})
    (item,) = batch.items
    assert batch.is_single
    assert (item.rid, item.prompt_text) == ("t1", "Hello there")
    assert list(item.prompt_ids) == load_tokenizer().encode("Hello there")


def test_input_ids_are_taken_as_they_are_and_win_over_text() -> None:
    assert parse({"input_ids": [34, 27]}).items[0].prompt_ids == (34, 27)
    assert parse({"text": "x", "input_ids": [34, 27]}).items[0].prompt_ids == (34, 27)


@pytest.mark.parametrize("body", [{"text": ["x"]}, {"input_ids": [[5]]}])
def test_a_list_of_one_is_a_batch(body: dict[str, Any]) -> None:
    batch = parse(body)
    assert not batch.is_single
    assert len(batch.items) == 1


def test_one_id_for_a_batch_is_numbered() -> None:
    batch = parse({"text": ["a", "b"], "rid": "r"})
    assert [item.rid for item in batch.items] == ["r_0", "r_1"]


def test_samples_are_prompt_major_and_get_new_ids() -> None:
    batch = parse({"text": ["a", "b"], "rid": ["r", "s"], "sampling_params": {"n": 2}})
    assert [item.prompt_text for item in batch.items] == ["a", "a", "b", "b"]
    rids = {item.rid for item in batch.items}
    assert len(rids) == 4
    assert not rids & {"r", "s"}
    assert not parse({"text": "a", "sampling_params": {"n": 2}}).is_single


def test_lists_of_options_belong_to_their_prompts() -> None:
    batch = parse(
        {
            "text": ["a", "b"],
            "return_logprob": [True, False],
            "logprob_start_len": [0, -1],
            "sampling_params": [{"max_new_tokens": 1}, {"max_new_tokens": 2}],
        }
    )
    assert [item.return_logprob for item in batch.items] == [True, False]
    assert [item.logprob_start_len for item in batch.items] == [0, -1]
    assert [item.params.max_new_tokens for item in batch.items] == [1, 2]


def test_the_default_length_is_cut_to_the_context() -> None:
    assert parse({"input_ids": [5] * 90}).items[0].params.max_new_tokens == 10
