"""From the JSON of /generate to the sequences it asks for.

Order of the sequences: prompt by prompt, and within a prompt sample by sample (`p0s0, p0s1, p1s0`),
as SGLang answers them. `Limits` is what the model can take; nothing here knows the model itself.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .params import ContractError, RequestError, SamplingParams, read_sampling_params
from .sequences import AnswerOptions, Notice, Sequence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .spelling import Speller

Body = dict[str, object]

_FLAGS = ("return_logprob", "return_text_in_logprobs", "return_prompt_token_ids")
# Asked for explicitly, these would change the answer in ways this worker cannot deliver.
_LACKING = (
    "input_embeds",
    "image_data",
    "video_data",
    "audio_data",
    "custom_logit_processor",
    "lora_path",
    "session_params",
    "top_logprobs_num",
    "token_ids_logprob",
    "return_hidden_states",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the loaded model can take."""

    context_tokens: int
    vocab_size: int


@dataclass(frozen=True, slots=True)
class Intake:
    """One HTTP request: its sequences in the order of the answer, and the answer's form."""

    sequences: list[Sequence]
    notice: Notice
    is_list: bool
    stream: bool


def read_generate(body: Body, speller: Speller, limits: Limits) -> Intake:
    """Check a /generate body and make its sequences.

    Raises:
        ContractError, RequestError: the two kinds of 400.
    """
    for key in _LACKING:
        if body.get(key):
            raise RequestError(f"{key} is not available on this worker; leave it out")
    prompts, is_batch = _prompts(body, speller)
    count = len(prompts)
    params = [read_sampling_params(raw) for raw in _objects(body, "sampling_params", count)]
    options = _options(body, count)
    samples = params[0].n if params else 1
    if any(p.n != samples for p in params):
        raise RequestError("n must be the same for every prompt of a batch")
    rids = _rids(body, count, is_batch=is_batch) if samples == 1 else []
    notice = Notice()
    sequences = [
        make_sequence(prompt, params[i], options[i], notice, limits, rids[i] if rids else None)
        for i, prompt in enumerate(prompts)
        for _ in range(samples)
    ]
    stream = _flag("stream", body.get("stream"))
    return Intake(sequences, notice, is_list=is_batch or samples > 1, stream=stream)


def make_sequence(
    prompt: list[int],
    params: SamplingParams,
    options: AnswerOptions,
    notice: Notice,
    limits: Limits,
    rid: str | None = None,
) -> Sequence:
    """One sequence whose prompt and answer fit the model.

    Raises:
        RequestError: they do not.
    """
    if not prompt:
        raise RequestError("input_ids cannot be empty.")
    if not all(0 <= token < limits.vocab_size for token in prompt):
        raise RequestError(f"input_ids must be in [0, {limits.vocab_size - 1}]")
    size, room = len(prompt), limits.context_tokens
    if size >= room:
        raise RequestError(
            f"The input ({size} tokens) is longer than the model's context length ({room} tokens)."
        )
    if size + params.max_new_tokens > room:
        raise RequestError(
            f"{size} prompt tokens and max_new_tokens {params.max_new_tokens} exceed the context "
            f"length of {room} tokens; ask for at most {room - size} new tokens"
        )
    if options.logprob_start_len > size:
        raise RequestError(f"logprob_start_len must not exceed the {size} prompt tokens")
    return Sequence(rid or uuid.uuid4().hex, prompt, params, options, notice)


def _prompts(body: Body, speller: Speller) -> tuple[list[list[int]], bool]:
    """The prompts as ids, and whether the request is a batch; `input_ids` wins over `text`."""
    text, ids = body.get("text"), body.get("input_ids")
    if text is None and ids is None:
        raise RequestError("Either text, input_ids or input_embeds should be provided.")
    if ids is not None:
        if not isinstance(ids, list):
            raise ContractError("invalid type for `input_ids`: expected a list")
        if ids and isinstance(ids[0], list):
            return [_token_ids(item) for item in ids], True
        return [_token_ids(ids)], False
    if isinstance(text, list):
        return [_encoded(item, speller) for item in text], True
    return [_encoded(text, speller)], False


def _token_ids(value: object) -> list[int]:
    if not isinstance(value, list) or not all(type(token) is int for token in value):
        raise ContractError("invalid type for `input_ids`: expected integers")
    return list(value)


def _encoded(value: object, speller: Speller) -> list[int]:
    if not isinstance(value, str):
        raise ContractError("invalid type for `text`: expected a string or a list of strings")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RequestError("text holds a lone surrogate and is no valid Unicode") from None
    return speller.encode(value)


def _objects(body: Body, key: str, count: int) -> list[Mapping[str, object]]:
    values = _spread(body.get(key) or {}, key, count)
    for value in values:
        if not isinstance(value, dict):
            raise ContractError(f"invalid type for `{key}`: expected an object")
    return [value for value in values if isinstance(value, dict)]


def _spread(value: object, key: str, count: int) -> list[object]:
    """One value for each prompt: given as a list, or the same for all."""
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise RequestError(f"{key} has {len(value)} entries for {count} prompts")
    return value


def _flag(key: str, value: object) -> bool:
    if value is not None and not isinstance(value, bool):
        raise ContractError(f"invalid type for `{key}`: expected a boolean, got {value!r}")
    return bool(value)


def _options(body: Body, count: int) -> list[AnswerOptions]:
    flags = {key: _spread(body.get(key), key, count) for key in _FLAGS}
    starts = _spread(body.get("logprob_start_len", -1), "logprob_start_len", count)
    options = []
    for i in range(count):
        start = starts[i]
        if start is not None and type(start) is not int:
            raise ContractError("invalid type for `logprob_start_len`: expected an integer")
        chosen = {key: _flag(key, flags[key][i]) for key in _FLAGS}
        options.append(AnswerOptions(logprob_start_len=-1 if start is None else start, **chosen))
    return options


def _rids(body: Body, count: int, *, is_batch: bool) -> list[str]:
    """Request ids; a single name for a batch becomes `name_0, name_1, ...`."""
    rid = body.get("rid")
    if rid is None:
        return []
    if isinstance(rid, str):
        return [f"{rid}_{i}" for i in range(count)] if is_batch else [rid]
    rids = _spread(rid, "rid", count)
    if not all(isinstance(item, str) for item in rids):
        raise ContractError("invalid type for `rid`: expected a string or a list of strings")
    return [str(item) for item in rids]
