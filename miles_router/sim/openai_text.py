"""POST /v1/completions, GET /v1/models, POST /tokenize and /detokenize."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from miles_router.sim.generate import DONE, EVENT_STREAM, event, raise_if_failed
from miles_router.sim.http import Reply
from miles_router.sim.openai_shapes import (
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
from miles_router.sim.route import Route, get, post, read_object

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from miles_router.sim.batch import Batch
    from miles_router.sim.generation import Generation
    from miles_router.sim.http import Request
    from miles_router.sim.worker import Worker

_DEFAULT_MAX_TOKENS = 16


def _batch(worker: Worker, body: dict[str, Any], path: str) -> Batch:
    prompt = body.get("prompt")
    is_ids = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], str)
    if prompt is None or prompt == []:
        raise openai_bad_request("Prompt cannot be empty.")
    limit = body.get("max_tokens")
    generate_body = {
        "input_ids" if is_ids else "text": prompt,
        "sampling_params": sampling_from(body, _DEFAULT_MAX_TOKENS if limit is None else limit),
        "return_logprob": body.get("logprobs") is not None,
        "top_logprobs_num": body.get("logprobs") or 0,
        "return_text_in_logprobs": True,
        "stream": bool(body.get("stream")),
    }
    return parse_batch(worker, body, generate_body, path)


def _logprobs(worker: Worker, generation: Generation, start: int = 0) -> dict[str, Any] | None:
    if not generation.item.return_logprob:
        return None
    name = worker.engine.tokenizer.token_text
    return {
        "tokens": [name(token) for token in generation.output_ids[start:]],
        "token_logprobs": generation.logprobs[start:],
        "top_logprobs": [
            {name(token): value for value, token in column}
            for column in generation.top_logprobs[start:]
        ],
        "text_offset": [-1 for _ in generation.output_ids[start:]],
    }


async def _completions(worker: Worker, request: Request) -> Reply:
    body = await read_object(worker, request)
    batch = _batch(worker, body, request.path)
    if batch.stream:
        return Reply(200, _stream(worker, body, batch), EVENT_STREAM)
    generations = await worker.finish(batch)
    raise_if_failed(generations)
    choices = []
    for index, one in enumerate(generations):
        choice = {
            "index": index,
            "text": one.text.visible(),
            "logprobs": _logprobs(worker, one),
            "finish_reason": finish_name(one),
            "matched_stop": matched_stop(one),
        }
        if body.get("return_token_ids"):
            choice["token_ids"] = one.output_ids
            choice["prompt_token_ids"] = list(one.item.prompt_ids)
        choices.append(choice)
    answer = {
        "id": generations[0].item.rid,
        "object": "text_completion",
        "created": created_now(),
        "model": body.get("model", worker.engine.served_model_name),
        "choices": choices,
        "usage": usage(generations, batch.items[0].params.n),
        "metadata": metadata(worker, generations[0]),
    }
    extension = id_extension(worker, request, body, generations)
    if extension is not None:
        answer["sglext"] = extension
    return Reply.json(answer)


async def _stream(
    worker: Worker, body: dict[str, Any], batch: Batch
) -> AsyncGenerator[bytes, None]:
    shell = {
        "id": batch.items[0].rid,
        "object": "text_completion",
        "created": created_now(),
        "model": body.get("model", worker.engine.served_model_name),
    }
    texts = ["" for _ in batch.items]
    counts = [0 for _ in batch.items]
    is_incremental = worker.settings.incremental_streaming
    generations: dict[int, Generation] = {}
    try:
        async with aclosing(worker.chunks(batch)) as chunks:
            async for index, generation, chunk in chunks:
                generations[index] = generation
                text, ids = chunk["text"], chunk["output_ids"]
                if not is_incremental:
                    text, ids = text[len(texts[index]) :], ids[counts[index] :]
                reason = chunk["meta_info"]["finish_reason"] or {}
                choice = {
                    "index": index,
                    "text": text,
                    "logprobs": None,
                    "finish_reason": reason.get("type"),
                    "matched_stop": reason.get("matched"),
                }
                if body.get("return_token_ids"):
                    choice["token_ids"] = ids
                    if counts[index] == 0:
                        choice["prompt_token_ids"] = list(batch.items[index].prompt_ids)
                texts[index] += text
                counts[index] += len(ids)
                yield event({**shell, "choices": [choice]})
    except RequestRefused as refused:
        yield event({"error": error_object(400, refused.message, "BadRequestError")})
    if generations and (body.get("stream_options") or {}).get("include_usage"):
        counted = usage([*generations.values()], batch.items[0].params.n)
        yield event({**shell, "choices": [], "usage": counted})
    yield DONE


async def _models(worker: Worker, _request: Request) -> Reply:
    name = worker.engine.served_model_name
    card = {
        "id": name,
        "object": "model",
        "created": created_now(),
        "owned_by": "sglang",
        "root": name,
        "parent": None,
        "max_model_len": worker.settings.context_tokens,
    }
    return Reply.json({"object": "list", "data": [card]})


async def _tokenize(worker: Worker, request: Request) -> Reply:
    prompt = (await read_object(worker, request)).get("prompt")
    encode, limit = worker.engine.tokenizer.encode, worker.settings.context_tokens
    if isinstance(prompt, str):
        ids = encode(prompt)
        return Reply.json({"tokens": ids, "count": len(ids), "max_model_len": limit})
    if isinstance(prompt, list) and all(isinstance(one, str) for one in prompt):
        lists = [encode(one) for one in prompt]
        counts = [len(one) for one in lists]
        return Reply.json({"tokens": lists, "count": counts, "max_model_len": limit})
    raise openai_bad_request("prompt is a string or a list of strings.")


async def _detokenize(worker: Worker, request: Request) -> Reply:
    body = await read_object(worker, request)
    tokens, skip = body.get("tokens"), body.get("skip_special_tokens", True)
    if not isinstance(tokens, list):
        raise openai_bad_request("tokens is a list of token ids, or a list of such lists.")
    decode = worker.engine.tokenizer.decode
    if tokens and all(isinstance(one, list) for one in tokens):
        texts = [decode(one, skip_special_tokens=skip) for one in tokens]
        return Reply.json({"text": texts})
    if not all(isinstance(one, int) for one in tokens):
        raise openai_bad_request("tokens is a list of token ids, or a list of such lists.")
    return Reply.json({"text": decode(tokens, skip_special_tokens=skip)})


ROUTES: dict[str, Route] = {
    "/v1/completions": post(_completions),
    "/v1/models": get(_models),
    "/tokenize": post(_tokenize),
    "/v1/tokenize": post(_tokenize),
    "/detokenize": post(_detokenize),
    "/v1/detokenize": post(_detokenize),
}
