"""Answers written by hand, mostly the examples of SGLang's contract, and what is expected."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from miles_router.core.generate.answer import read_answer
from miles_router.core.generate.items import AnswerItem, Expected

SINGLE = (
    b'{"text":"4<|im_end|>","output_ids":[36,2],"meta_info":{"id":"t1","finish_reason":'
    b'{"type":"stop","matched":2},"prompt_tokens":2,"weight_version":"12","num_retractions":0,'
    b'"input_token_logprobs":[],"output_token_logprobs":[[-0.25,36,null],[-0.5,2,null]],'
    b'"output_token_logprobs_length":2,"reasoning_tokens":0,"completion_tokens":2,'
    b'"cached_tokens":0,"weight_versions":[{"version":"12","start":0,"end":2}],'
    b'"routed_experts":"AAAAAAMAAAABAAAAAgAAAAIAAAABAAAAAAAAAAMAAAADAAAAAAAAAAIAAAABAAAA",'
    b'"dp_rank":null,"e2e_latency":0.031},"prompt_token_ids":[34,27]}'
)
TWO_SAMPLES = (
    b'[{"text":" there","output_ids":[665,2],"meta_info":{"id":"u1","finish_reason":'
    b'{"type":"stop","matched":2},"prompt_tokens":1,"weight_version":"default",'
    b'"num_retractions":0,"reasoning_tokens":0,"completion_tokens":2,"cached_tokens":1,'
    b'"dp_rank":null,"e2e_latency":0.1}},\n     {"text":" a","output_ids":[253],"meta_info":'
    b'{"id":"u2","finish_reason":{"type":"abort","message":"Aborted","status_code":null,'
    b'"err_type":null},"prompt_tokens":1,"weight_version":"default","num_retractions":0,'
    b'"reasoning_tokens":0,"completion_tokens":1,"cached_tokens":1,"dp_rank":null,'
    b'"e2e_latency":0.1}}]'
)
QUEUE_ABORT = (
    b'{"text":"","output_ids":[],"meta_info":{"id":"q7","finish_reason":{"type":"abort",'
    b'"message":"Abort in waiting queue"},"weight_version":"default","e2e_latency":3.2,'
    b'"completion_tokens":0}}'
)
CHUNKS = [
    b'data: {"text":" Paris","output_ids":[7042],"meta_info":{"id":"9f","finish_reason":null,'
    b'"prompt_tokens":5,"weight_version":"default","num_retractions":0,"reasoning_tokens":0,'
    b'"completion_tokens":1,"cached_tokens":0,"dp_rank":null}}\n\n',
    b'data: {"text":" Paris","output_ids":[7042,2],"meta_info":{"id":"9f","finish_reason":'
    b'{"type":"stop","matched":2},"prompt_tokens":5,"weight_version":"default",'
    b'"num_retractions":0,"reasoning_tokens":0,"completion_tokens":2,"cached_tokens":0,'
    b'"weight_versions":[{"version":"default","start":0,"end":2}],"dp_rank":null,'
    b'"e2e_latency":0.2}}\n\n',
    b"data: [DONE]\n\n",
]
SECOND_DELTA = (
    b'data: {"text":" B","output_ids":[378],"meta_info":{"id":"b_1","finish_reason":'
    b'{"type":"length","length":2},"prompt_tokens":5,"weight_version":"8","num_retractions":0,'
    b'"input_token_logprobs":[],"output_token_logprobs":[[-1.5,378,null]],'
    b'"output_token_logprobs_length":2,"reasoning_tokens":0,"completion_tokens":2,'
    b'"cached_tokens":4,"weight_versions":[{"version":"7","start":0,"end":1},{"version":"8",'
    b'"start":1,"end":2}],"dp_rank":null,"e2e_latency":0.4},"index":1}\n\n'
)
STREAM_503 = (
    b'data: {"text":"","output_ids":[],"meta_info":{"id":"q8","finish_reason":{"type":"abort",'
    b'"status_code":503,"message":"The request queue is full."},"weight_version":"default",'
    b'"e2e_latency":0.0,"completion_tokens":0}}\n\n'
)


def expected(
    *prompts: list[int], n: int = 1, is_array: bool = False, logprobs: bool = False
) -> Expected:
    """For SmolLM2's vocabulary; without prompts, the one of `SINGLE`."""
    ids = prompts or ([34, 27],)
    return Expected(
        prompt_ids=tuple(np.array(one, dtype="<i4") for one in ids),
        n=n,
        is_array=is_array,
        asks_logprobs=(logprobs,) * len(ids),
        vocab_size=49_152,
    )


def changed(body: bytes, **values: Any) -> bytes:
    """An answer with members of `meta_info`, or of the top level, set; `...` takes one out."""
    answer = msgspec.json.decode(body)
    for key, value in values.items():
        place = answer if key in {"text", "output_ids", "prompt_token_ids"} else answer["meta_info"]
        place[key] = value
        if value is ...:
            del place[key]
    return msgspec.json.encode(answer)


def only(found: list[Any]) -> AnswerItem:
    """The one item, which is believed."""
    (item,) = found
    assert isinstance(item, AnswerItem), item
    return item


def read_one(body: bytes, **expect: Any) -> AnswerItem:
    """The one item of an answer."""
    return only(read_answer(body, expected(**expect)))


def logprobs_of(item: AnswerItem) -> list[float]:
    """As numbers."""
    values: list[float] = np.frombuffer(item.logprobs, dtype="<f4").tolist()
    return values
