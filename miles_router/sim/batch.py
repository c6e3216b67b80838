"""From a /generate body to the list of single generations SGLang would run for it.

Follows `GenerateReqInput.normalize_batch_and_arguments` of SGLang 0.5.23: which of text and
input_ids counts, how a batch and n > 1 expand, which request ids result. Knows no running state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from miles_router.sim.contract import check_generate_body
from miles_router.sim.refusals import bad_value
from miles_router.sim.sampling_params import SamplingParams, parse_sampling_params

if TYPE_CHECKING:
    import random

    from miles_router.sim.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt to be continued once."""

    rid: str
    path: str
    prompt_ids: tuple[int, ...]
    prompt_text: str | None = None
    params: SamplingParams = SamplingParams()  # noqa: RUF009 - frozen
    stream: bool = False
    return_logprob: bool = False
    logprob_start_len: int = -1
    top_logprobs_num: int = 0
    token_ids_logprob: tuple[int, ...] | None = None
    return_text_in_logprobs: bool = False
    return_prompt_token_ids: bool = False
    return_routed_experts: bool = False
    routed_experts_start_len: int = 0
    cache_key: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """The generations of one HTTP request, in the order of its answer."""

    items: tuple[Item, ...]
    is_single: bool
    stream: bool


def _prompts(body: dict[str, Any]) -> tuple[bool, list[tuple[str | None, list[int] | None]]]:
    """(is a single prompt, the (text, input_ids) of each prompt)."""
    text: str | list[str] | None = body.get("text")
    ids: list[Any] | None = body.get("input_ids")
    embeds = body.get("input_embeds")
    missing = text is None and ids is None and embeds is None
    if missing or (text is not None and ids is not None and embeds is not None):
        raise bad_value("Either text, input_ids or input_embeds should be provided.")
    if text is None and ids is None:
        raise bad_value(
            "input_embeds is provided while disable_radix_cache is False. Please add "
            "`--disable-radix-cache` when you launch the server if you want to use "
            "input_embeds as inputs."
        )
    if text is not None:
        # The batch shape follows the text; the ids are what gets tokenized, if there are any.
        if isinstance(text, str):
            return True, [(text, ids)]
        per_text = ids if ids and isinstance(ids[0], list) else [ids] * len(text)
        return False, list(zip(text, per_text, strict=False))
    if not ids:
        raise bad_value("input_ids cannot be empty.")
    if isinstance(ids[0], int):
        return True, [(None, ids)]
    return False, [(None, one) for one in ids]


def _check_features(body: dict[str, Any]) -> None:
    """Refuse what asks for a server that was started in another way.

    A simulated worker is one data-parallel rank and keeps no hidden states.
    """
    if body.get("session_id") is not None and body.get("session_params") is not None:
        raise bad_value("session_id and session_params cannot both be set.")
    hidden = body.get("return_hidden_states")
    if any(hidden) if isinstance(hidden, list) else hidden:
        raise bad_value(
            "The server is not configured to return hidden states. Please set "
            "`--return-hidden-states-mode last`, `--return-hidden-states-mode full`, or the "
            "legacy `--enable-return-hidden-states` flag."
        )
    rank = body.get("routed_dp_rank")
    if rank is None:
        rank = body.get("data_parallel_rank")  # its old name
    if rank not in {None, 0}:
        raise bad_value(f"routed_dp_rank={rank} out of range [0, 1)")


def _sampling_objects(body: dict[str, Any], count: int) -> tuple[int, list[dict[str, Any] | None]]:
    given = body.get("sampling_params")
    if given is None or isinstance(given, dict):
        return ((given or {}).get("n") or 1), [given] * count
    if len(given) != count:
        raise bad_value("The length of sampling_params should be equal to the batch size.")
    samples = [(one.get("n") or 1) for one in given]
    if any(number != samples[0] for number in samples):
        raise bad_value(
            "The parallel_sample_num should be the same for all samples in sample params."
        )
    return (samples[0] if samples else 1), list(given)


def _rids(body: dict[str, Any], count: int, samples: int, rng: random.Random) -> list[str]:
    """One id per generation; SGLang ignores the caller's ids when n > 1."""

    def fresh() -> str:
        return f"{rng.getrandbits(128):032x}"

    given = body.get("rid")
    if isinstance(given, list) and len(given) != count:
        raise bad_value(
            "The specified rids length mismatch with the batch_size for batch processing."
        )
    if given is None or samples > 1:
        return [fresh() for _ in range(count * samples)]
    if isinstance(given, str):
        return [f"{given}_{place}" for place in range(count)]
    duplicates = [rid for rid in dict.fromkeys(given) if given.count(rid) > 1]
    if duplicates:
        raise bad_value(f"Duplicate request IDs detected within the request: {duplicates}")
    return list(given)


def _per_prompt(body: dict[str, Any], name: str, default: Any, count: int) -> list[Any]:
    value = body.get(name)
    if value is None:
        return [default] * count
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise bad_value(f"The length of {name} should be equal to the batch size.")
    return [default if one is None else one for one in value]


def _token_columns(body: dict[str, Any], count: int) -> list[Any]:
    value = body.get("token_ids_logprob")
    if not value:
        return [None] * count
    if isinstance(value[0], list):
        return [tuple(one) for one in value]
    return [tuple(value)] * count


class BatchParser:
    """Turns request bodies into batches; the rng makes the request ids a body does not bring."""

    def __init__(self, tokenizer: Tokenizer, *, context_tokens: int, rng: random.Random) -> None:
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens
        self._rng = rng

    def parse(self, body: Any, *, path: str = "/generate") -> Batch:
        """Check and expand one body.

        Raises:
            RequestRefused: with the status and body SGLang answers.
        """
        check_generate_body(body)
        _check_features(body)
        is_single, prompts = _prompts(body)
        count = len(prompts)
        samples, sampling = _sampling_objects(body, count)
        if is_single and samples == 1:
            rid = body.get("rid")
            rids = [rid] if isinstance(rid, str) else _rids(body, 1, 1, self._rng)
        else:
            rids = _rids(body, count, samples, self._rng)
        ids = [self._prompt_ids(text, given) for text, given in prompts]
        params = [self._params(one, len(ids[i])) for i, one in enumerate(sampling)]
        columns = {
            "return_logprob": _per_prompt(body, "return_logprob", False, count),
            "logprob_start_len": _per_prompt(body, "logprob_start_len", -1, count),
            "top_logprobs_num": _per_prompt(body, "top_logprobs_num", 0, count),
            "token_ids_logprob": _token_columns(body, count),
            "cache_key": _per_prompt(body, "extra_key", "", count),
        }
        items = tuple(
            Item(
                rid=rids[place],
                path=path,
                prompt_ids=ids[prompt],
                prompt_text=prompts[prompt][0],
                params=params[prompt],
                stream=bool(body.get("stream")),
                return_text_in_logprobs=bool(body.get("return_text_in_logprobs")),
                return_prompt_token_ids=bool(body.get("return_prompt_token_ids")),
                return_routed_experts=bool(body.get("return_routed_experts")),
                routed_experts_start_len=body.get("routed_experts_start_len") or 0,
                **{name: values[prompt] for name, values in columns.items()},
            )
            for place, prompt in enumerate(p for p in range(count) for _ in range(samples))
        )
        return Batch(items, is_single=is_single and samples == 1, stream=bool(body.get("stream")))

    def _prompt_ids(self, text: str | None, given: list[int] | None) -> tuple[int, ...]:
        ids = given if given is not None else self._tokenizer.encode(text or "")
        if not ids:
            raise bad_value("input_ids cannot be empty.")
        limit = self._context_tokens
        if len(ids) >= limit:
            raise bad_value(
                f"The input ({len(ids)} tokens) is longer than the model's context length "
                f"({limit} tokens)."
            )
        outside = next((one for one in ids if not 0 <= one < self._tokenizer.vocab_size), None)
        if outside is not None:
            raise bad_value(
                f"The input_ids {outside} contains values greater than the vocab size "
                f"({self._tokenizer.vocab_size})."
            )
        return tuple(ids)

    def _params(self, given: dict[str, Any] | None, prompt_tokens: int) -> SamplingParams:
        limit = self._context_tokens
        asked = (given or {}).get("max_new_tokens")
        if asked is not None and asked + prompt_tokens > limit:
            raise bad_value(
                "Requested token count exceeds the model's maximum context length of "
                f"{limit} tokens. You requested a total of {asked + prompt_tokens} tokens: "
                f"{prompt_tokens} tokens from the input messages and {asked} tokens for the "
                "completion. Please reduce the number of tokens in the input messages or the "
                "completion to fit within the limit."
            )
        return parse_sampling_params(
            given,
            vocab_size=self._tokenizer.vocab_size,
            room_tokens=limit - prompt_tokens,
        )
