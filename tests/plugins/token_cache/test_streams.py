"""Streamed answers: relayed as they come, kept before their end is let go."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.plugins.token_cache.rig import (
    EOS_ID,
    Stage,
    answer,
    drifting,
    ids_of,
    logprobs,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS, _WHOLE = drifting()
WORD = shown(PARTS)
PROMPT = "A question:"
OUTPUT = [*PARTS, EOS_ID]
SSE = ((b"content-type", b"text/event-stream; charset=utf-8"),)
DONE = b"data: [DONE]\n\n"

Chunks = list[dict[str, Any]]


def cumulative(request: dict[str, Any]) -> Chunks:
    chunks = []
    for size in range(1, len(OUTPUT)):
        chunk = answer(request, OUTPUT[:size], weight_versions=None)
        chunk["meta_info"]["finish_reason"] = None
        chunks.append(chunk)
    return [*chunks, answer(request, OUTPUT)]


def incremental(request: dict[str, Any]) -> Chunks:
    chunks = []
    before = ""
    for size, whole in enumerate(cumulative(request), start=1):
        triples = whole["meta_info"].get("output_token_logprobs")
        if triples is not None:
            whole["meta_info"]["output_token_logprobs"] = triples[size - 1 :]
        text = whole["text"]
        chunks.append({**whole, "text": text[len(before) :], "output_ids": OUTPUT[size - 1 : size]})
        before = text
    return chunks


def streaming(chunks_of: Callable[[dict[str, Any]], Chunks], *, done: bytes = DONE) -> Stage:
    def reply(request: dict[str, Any]) -> bytes:
        events = [b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks_of(request)]
        return b"".join(events) + done

    stage = Stage(reply)
    stage.worker.answer_headers = SSE
    return stage


def events_of(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.split(b"\n\n") if line]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


@pytest.mark.parametrize("chunks_of", [cumulative, incremental])
@pytest.mark.parametrize("piece_bytes", [1, 7, 100_000])
async def test_a_stream_is_kept_and_looks_as_without_a_cache(
    chunks_of: Callable[[dict[str, Any]], Chunks], piece_bytes: int
) -> None:
    stage = streaming(chunks_of)
    stage.worker.piece_bytes = piece_bytes
    got = await stage.generate({"text": PROMPT, "stream": True})
    assert got.body.endswith(DONE)
    plain = chunks_of({"input_ids": ids_of(PROMPT), "rid": stage.worker.last["rid"]})
    assert events_of(got.body) == plain
    reading = stage.read(PROMPT + WORD)
    assert reading.tokens.tolist() == ids_of(PROMPT) + OUTPUT
    assert logprobs(reading)[-len(OUTPUT) :] == [-0.5 - i for i in range(len(OUTPUT))]


async def test_a_client_that_asks_for_everything_gets_the_workers_bytes() -> None:
    stage = streaming(cumulative)
    got = await stage.generate({"text": PROMPT, "stream": True, "return_logprob": True})
    plain = cumulative({**stage.worker.last})
    assert got.body == b"".join(b"data: %b\n\n" % json.dumps(p).encode() for p in plain) + DONE


async def test_the_end_waits_until_the_turn_is_stored() -> None:
    stage = streaming(cumulative)
    stored_at_end: list[tuple[bool, int]] = []
    whole = stage.client._app

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def watch(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                is_final = b'"finish_reason": {"type"' in message["body"]
                stored_at_end.append((is_final, stage.stored))
            await send(message)

        await whole(scope, receive, watch)

    stage.client._app = app
    stage.worker.piece_bytes = 60
    await stage.generate({"text": PROMPT, "stream": True})
    assert (False, 0) in stored_at_end
    assert (True, 1) in stored_at_end
    assert (True, 0) not in stored_at_end


async def test_items_of_a_streamed_batch_are_told_apart() -> None:
    def chunks_of(request: dict[str, Any]) -> Chunks:
        parts = [
            cumulative({**request, "rid": rid, "input_ids": ids})
            for rid, ids in zip(request["rid"], request["input_ids"], strict=True)
        ]
        return [
            {**one, "index": i} for pair in zip(*parts, strict=True) for i, one in enumerate(pair)
        ]

    stage = streaming(chunks_of)
    texts = [PROMPT, PROMPT + " again"]
    await stage.generate({"text": texts, "stream": True})
    assert stage.stored == 2
    for text in texts:
        assert stage.read(text + WORD).tokens.tolist() == ids_of(text) + OUTPUT


async def test_a_stream_that_ends_early_is_not_stored() -> None:
    stage = streaming(lambda request: cumulative(request)[:-1], done=b"")
    got = await stage.generate({"text": PROMPT, "stream": True})
    assert len(events_of(got.body)) == len(OUTPUT) - 1
    assert (stage.stored, stage.refused) == (0, {"unfinished": 1})


async def test_an_error_in_a_stream_passes_and_is_not_stored() -> None:
    error = {"error": {"message": "no", "code": 400}}
    stage = streaming(lambda request: [*cumulative(request)[:1], error])
    got = await stage.generate({"text": PROMPT, "stream": True})
    assert events_of(got.body)[-1] == error
    assert (stage.stored, stage.refused) == (0, {"worker_error": 1})


async def test_other_events_pass_as_they_are() -> None:
    stage = Stage(lambda _request: b": ping\n\nevent: x\ndata: 1\n\nrest without end")
    stage.worker.answer_headers = SSE
    got = await stage.generate({"text": PROMPT, "stream": True})
    assert got.body == b": ping\n\nevent: x\ndata: 1\n\nrest without end"
    assert stage.stored == 0


async def test_a_large_event_passes_and_is_kept() -> None:
    def chunks_of(request: dict[str, Any]) -> Chunks:
        return [answer(request, OUTPUT, padding="x" * 3_000_000)]

    stage = streaming(chunks_of)
    stage.worker.piece_bytes = 65_536
    got = await stage.generate({"text": PROMPT, "stream": True})
    assert got.body.endswith(DONE)
    assert "output_token_logprobs" not in events_of(got.body)[0]["meta_info"]
    assert stage.read(PROMPT + WORD).tokens.tolist() == ids_of(PROMPT) + OUTPUT
