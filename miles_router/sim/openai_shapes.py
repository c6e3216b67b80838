"""What SGLang's OpenAI routes share: parameters in; usage, logprobs and finish names out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from miles_router.sim.refusals import RequestRefused, openai_bad_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miles_router.sim.batch import Batch
    from miles_router.sim.generation import Generation
    from miles_router.sim.http import Request
    from miles_router.sim.worker import Worker

_SAME_NAME = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "n",
    "stop",
    "stop_token_ids",
    "stop_regex",
    "min_tokens",
    "ignore_eos",
    "skip_special_tokens",
    "no_stop_trim",
    "logit_bias",
]
_OTHER_NAME = {"seed": "sampling_seed", "min_tokens": "min_new_tokens"}


def sampling_from(body: dict[str, Any], max_tokens: int | None) -> dict[str, Any]:
    """The sampling_params of /generate for an OpenAI body."""
    given = {
        _OTHER_NAME.get(name, name): body[name]
        for name in [*_SAME_NAME, "seed"]
        if body.get(name) is not None
    }
    given["max_new_tokens"] = max_tokens
    return given


def parse_batch(worker: Worker, body: dict[str, Any], generate_body: Any, path: str) -> Batch:
    """Check and expand; every refusal has the OpenAI shape.

    Raises:
        RequestRefused: 400 with the flat error object.
    """
    for name in ("rid", "routed_experts_start_len", "extra_key"):
        if body.get(name) is not None:
            generate_body[name] = body[name]
    generate_body["return_routed_experts"] = bool(body.get("return_routed_experts"))
    try:
        return worker.engine.parse(generate_body, path=path)
    except RequestRefused as refused:
        raise openai_bad_request(refused.message) from None


def created_now() -> int:
    """Seconds since 1970, for `created`."""
    return int(datetime.now(tz=UTC).timestamp())


def finish_name(generation: Generation) -> str | None:
    """The OpenAI name of the finish reason."""
    reason = generation.finish_reason
    return None if reason is None else reason["type"]


def matched_stop(generation: Generation) -> int | str | None:
    """The stop token or string, if one ended the answer."""
    return (generation.finish_reason or {}).get("matched")


def usage(generations: Sequence[Generation], samples: int) -> dict[str, Any]:
    """Token counts; the prompt of n samples counts once."""
    prompt = sum(len(one.item.prompt_ids) for one in generations[::samples])
    completion = sum(len(one.output_ids) for one in generations)
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
        "prompt_tokens_details": None,
        "reasoning_tokens": 0,
        "completion_tokens_details": None,
    }


def metadata(worker: Worker, generation: Generation) -> dict[str, Any]:
    """Weight versions of the first choice."""
    spans = generation.version_spans(worker.engine.weight_version)
    return {
        "weight_version": spans[-1][0],
        "weight_versions": [
            {"version": name, "start": start, "end": end} for name, start, end in spans
        ],
    }


def chat_logprobs(worker: Worker, generation: Generation, start: int = 0) -> dict[str, Any]:
    """The chat form of log-probabilities from token `start` on; it carries no token ids."""
    tokenizer = worker.engine.tokenizer

    def entry(value: float, token: int) -> dict[str, Any]:
        data = tokenizer.token_bytes(token)
        return {"token": tokenizer.token_text(token), "logprob": value, "bytes": list(data)}

    content = []
    pairs = list(zip(generation.logprobs, generation.output_ids, strict=False))
    for place, (value, token) in enumerate(pairs[start:], start):
        tops = generation.top_logprobs[place] if generation.top_logprobs else []
        content.append({**entry(value, token), "top_logprobs": [entry(v, t) for v, t in tops]})
    return {"content": content}


def id_extension(
    worker: Worker, request: Request, body: dict[str, Any], generations: Sequence[Generation]
) -> dict[str, Any] | None:
    """The `sglext` object with ids and routed experts, None if nothing was asked for."""
    found: dict[str, Any] = {}
    if generations[0].item.return_routed_experts:
        version = worker.engine.weight_version
        rows = worker.engine.answers.routed_experts(generations[0], version=version)
        if rows is not None:
            found["routed_experts"] = rows
    asked = {
        name: bool(body.get(f"return_{name}_in_sglext"))
        or request.header(f"x-sglext-return-{name.replace('_', '-')}") == "1"
        for name in ("input_ids", "output_ids")
    }
    if asked["input_ids"]:
        found["input_ids"] = list(generations[0].item.prompt_ids)
    if asked["output_ids"]:
        found["output_ids"] = [one.output_ids for one in generations]
    return found or None
