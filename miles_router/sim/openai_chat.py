"""POST /v1/chat/completions, with SGLang's extras for exact tokens."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from miles_router.sim.generate import DONE, EVENT_STREAM, event, raise_if_failed
from miles_router.sim.http import Reply
from miles_router.sim.openai_shapes import (
    chat_logprobs,
    created_now,
    finish_name,
    id_extension,
    matched_stop,
    metadata,
    parse_batch,
    sampling_from,
    usage,
)
from miles_router.sim.refusals import RequestRefused, error_object, openai_bad_request
from miles_router.sim.route import Route, post, read_object
from miles_router.sim.tokenizer import render_chat

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from miles_router.sim.batch import Batch
    from miles_router.sim.generation import Generation
    from miles_router.sim.http import Request
    from miles_router.sim.worker import Worker

_NOT_IN_STREAMS = ("return_prompt_token_ids", "return_token_ids", "return_meta_info")


def _batch(worker: Worker, body: dict[str, Any], path: str) -> Batch:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise openai_bad_request("Messages cannot be empty.")
    if not all(isinstance(one, dict) and isinstance(one.get("role"), str) for one in messages):
        raise openai_bad_request("Each message is an object with a role.")
    if body.get("stream"):
        for name in _NOT_IN_STREAMS:
            if body.get(name):
                raise openai_bad_request(f"{name} is not supported with stream=true.")
    ids = body.get("input_ids")
    if ids is None:
        ids = worker.engine.tokenizer.encode(render_chat(messages))
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is None:
        limit = max(1, worker.settings.context_tokens - len(ids))
    generate_body = {
        "input_ids": ids,
        "sampling_params": sampling_from(body, limit),
        "return_logprob": bool(body.get("logprobs")),
        "top_logprobs_num": body.get("top_logprobs") or 0,
        "return_text_in_logprobs": True,
        "stream": bool(body.get("stream")),
    }
    return parse_batch(worker, body, generate_body, path)


async def _chat(worker: Worker, request: Request) -> Reply:
    body = await read_object(worker, request)
    batch = _batch(worker, body, request.path)
    if batch.stream:
        return Reply(200, _stream(worker, request, body, batch), EVENT_STREAM)
    generations = await worker.finish(batch)
    raise_if_failed(generations)
    answer = {
        "id": generations[0].item.rid,
        "object": "chat.completion",
        "created": created_now(),
        "model": body.get("model", worker.engine.served_model_name),
        "choices": [_choice(worker, body, index, one) for index, one in enumerate(generations)],
        "usage": usage(generations, len(generations)),
        "metadata": metadata(worker, generations[0]),
    }
    extension = id_extension(worker, request, body, generations)
    if extension is not None:
        answer["sglext"] = extension
    return Reply.json(answer)


def _choice(
    worker: Worker, body: dict[str, Any], index: int, generation: Generation
) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": index,
        "message": {
            "role": "assistant",
            "content": generation.text.visible(),
            "reasoning_content": None,
        },
        "logprobs": chat_logprobs(worker, generation) if body.get("logprobs") else None,
        "finish_reason": finish_name(generation),
        "matched_stop": matched_stop(generation),
    }
    if body.get("return_prompt_token_ids") or body.get("return_token_ids"):
        choice["prompt_token_ids"] = list(generation.item.prompt_ids)
    if body.get("return_token_ids"):
        choice["response_token_ids"] = generation.output_ids
    if body.get("return_meta_info"):
        version = worker.engine.weight_version
        choice["meta_info"] = worker.engine.answers.whole(generation, version=version)["meta_info"]
    return choice


async def _stream(
    worker: Worker, request: Request, body: dict[str, Any], batch: Batch
) -> AsyncGenerator[bytes, None]:
    shell = {
        "id": batch.items[0].rid,
        "object": "chat.completion.chunk",
        "created": created_now(),
        "model": body.get("model", worker.engine.served_model_name),
    }
    sent_texts = ["" for _ in batch.items]
    generations: dict[int, Generation] = {}
    try:
        for index in range(len(batch.items)):
            yield event({**shell, "choices": [_delta(index, {"role": "assistant", "content": ""})]})
        async with aclosing(worker.chunks(batch)) as chunks:
            async for index, generation, chunk in chunks:
                generations[index] = generation
                text = chunk["text"]
                if not worker.settings.incremental_streaming:
                    text = text[len(sent_texts[index]) :]
                sent_texts[index] += text
                if text:
                    yield event({**shell, "choices": [_delta(index, {"content": text})]})
                reason = chunk["meta_info"]["finish_reason"]
                if reason is not None:
                    finish = {
                        "finish_reason": reason["type"],
                        "matched_stop": reason.get("matched"),
                    }
                    yield event({**shell, "choices": [{**_delta(index, {}), **finish}]})
    except RequestRefused as refused:
        yield event({"error": error_object(400, refused.message, "BadRequestError")})
    for last in _closing_chunks(worker, request, body, [*generations.values()]):
        yield event({**shell, "choices": [], **last})
    yield DONE


def _closing_chunks(
    worker: Worker, request: Request, body: dict[str, Any], generations: Sequence[Generation]
) -> list[dict[str, Any]]:
    if not generations:
        return []
    found: list[dict[str, Any]] = []
    extension = id_extension(worker, request, body, generations)
    if extension is not None:
        found.append({"sglext": extension})
    if (body.get("stream_options") or {}).get("include_usage"):
        found.append({"usage": usage(generations, len(generations))})
    return found


def _delta(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {
        "index": index,
        "delta": delta,
        "logprobs": None,
        "finish_reason": None,
        "matched_stop": None,
    }


ROUTES: dict[str, Route] = {"/v1/chat/completions": post(_chat)}
