"""What the two OpenAI routes have in common: names of parameters, sequences, usage, errors.

These routes name some things differently (`seed`, `max_tokens`) and ignore unknown keys. Without
`max_tokens` a chat answer may fill the context.
"""

from __future__ import annotations

import time
from functools import wraps
from typing import TYPE_CHECKING

from .intake import Intake, make_sequence
from .params import ContractError, RequestError, read_sampling_params
from .replies import flat_error
from .sequences import AnswerOptions, Notice

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart import Response

    from .intake import Body
    from .sequences import Sequence
    from .service import Service

Json = dict[str, object]

_SAME_NAME = (
    "temperature", "top_p", "top_k", "min_p", "stop", "stop_token_ids", "ignore_eos",
    "no_stop_trim", "skip_special_tokens", "n", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "logit_bias", "regex", "ebnf", "json_schema", "stop_regex",
)  # fmt: skip
_OTHER_NAME = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "min_tokens": "min_new_tokens",
    "seed": "sampling_seed",
}


def flat_errors(route: Callable[[], Awaitable[Response]]) -> Callable[[], Awaitable[Response]]:
    """Answer a refused request in the shape of the OpenAI routes."""

    @wraps(route)
    async def answering() -> Response:
        try:
            return await route()
        except (ContractError, RequestError) as error:
            return flat_error(str(error))

    return answering


def read_openai(
    body: Body, prompts: list[list[int]], service: Service, default_max_tokens: int | None
) -> Intake:
    """The sequences of a request whose prompts are already ids; the first rid is `rid` itself.

    Raises:
        ContractError, RequestError: the two kinds of 400.
    """
    raw = {name: body[name] for name in _SAME_NAME if body.get(name) is not None}
    raw |= {ours: body[name] for name, ours in _OTHER_NAME.items() if body.get(name) is not None}
    stream = body.get("stream") is True
    options = AnswerOptions(
        return_logprob=bool(body.get("logprobs")) or body.get("return_meta_info") is True,
        return_text_in_logprobs=True,
        return_prompt_token_ids=True,
    )
    notice = Notice()
    sequences: list[Sequence] = []
    for prompt in prompts:
        room = max(service.limits.context_tokens - len(prompt), 0)
        fallback = room if default_max_tokens is None else default_max_tokens
        params = read_sampling_params({"max_new_tokens": fallback} | raw)
        for _ in range(params.n):
            rid = body.get("rid") if not sequences else None
            name = rid if isinstance(rid, str) else None
            sequences.append(make_sequence(prompt, params, options, notice, service.limits, name))
    return Intake(sequences, notice, is_list=True, stream=stream)


def frame(kind: str, intake: Intake, service: Service) -> Json:
    """The fields that an answer and each of its chunks begin with."""
    return {
        "id": intake.sequences[0].rid,
        "object": kind,
        "created": int(time.time()),  # noqa: TID251 - a date for people, not a measurement
        "model": service.facts.served_model_name,
    }


def usage(intake: Intake) -> Json:
    """Token counts over all choices; a prompt counts once however many samples it has."""
    prompts = {id(seq.prompt_ids): len(seq.prompt_ids) for seq in intake.sequences}
    prompt_tokens = sum(prompts.values())
    completion_tokens = sum(len(seq.output_ids) for seq in intake.sequences)
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": None,
        "reasoning_tokens": 0,
    }


def wants_usage(body: Body) -> bool:
    """Whether a stream shall end with the token counts."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def ending(seq: Sequence) -> Json:
    """`finish_reason` and `matched_stop` of a choice."""
    finish = seq.finish or {"type": None}
    return {"finish_reason": finish["type"], "matched_stop": finish.get("matched")}
