"""One request's sampling parameters: defaults, and the values SGLang 0.5.23 refuses.

`null` means the default. Parameters that only shape a real model's distribution (top_p, penalties,
grammars, ...) are checked and then have no effect: the simulated tokens do not come from logits.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from miles_router.sim.refusals import bad_value

_GREEDY_BELOW = 1e-6
DEFAULT_MAX_NEW_TOKENS = 128


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """What the simulated engine acts on."""

    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    min_new_tokens: int = 0
    temperature: float = 1.0
    is_greedy: bool = False
    stop: tuple[str, ...] = ()
    stop_regex: tuple[re.Pattern[str], ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    no_stop_trim: bool = False
    stream_interval: int = 1
    sampling_seed: int | None = None
    n: int = 1


def _within(given: dict[str, Any], name: str, low: float, high: float, default: float) -> None:
    value = given.get(name)
    value = default if value is None else value
    if not low <= value <= high:
        raise bad_value(f"{name} must be in [{low:g}, {high:g}], got {value}.")


def _check_ranges(given: dict[str, Any], temperature: float, vocab_size: int) -> None:
    if not math.isfinite(temperature) or temperature < 0:
        raise bad_value(f"temperature must be a non-negative finite number, got {temperature}.")
    top_p, top_k = given.get("top_p"), given.get("top_k")
    if top_p is not None and not 0 < top_p <= 1:
        raise bad_value(f"top_p must be in (0, 1], got {top_p}.")
    if top_k is not None and top_k != -1 and top_k < 1:
        raise bad_value(f"top_k must be -1 (disable) or at least 1, got {top_k}.")
    _within(given, "min_p", 0, 1, 0)
    _within(given, "frequency_penalty", -2, 2, 0)
    _within(given, "presence_penalty", -2, 2, 0)
    repetition = given.get("repetition_penalty")
    if repetition is not None and not 0 < repetition <= 2:
        raise bad_value(
            f"repetition_penalty must be in (0, 2] (1.0 = no penalty), got {repetition}."
        )
    for token in given.get("logit_bias") or {}:
        if not token.isdigit() or int(token) >= vocab_size:
            raise bad_value(f"logit_bias must has keys in [0, {vocab_size - 1}], got {token}.")


def _check_lengths(max_new_tokens: int, min_new_tokens: int) -> None:
    if min_new_tokens < 0:
        raise bad_value(f"min_new_tokens must be in [0, max_new_tokens], got {min_new_tokens}.")
    if max_new_tokens < 0:
        raise bad_value(f"max_new_tokens must be at least 0, got {max_new_tokens}.")
    if min_new_tokens > max_new_tokens:
        raise bad_value(
            f"min_new_tokens must be in [0, max_new_tokens({max_new_tokens})], "
            f"got {min_new_tokens}."
        )


def _strings(value: str | list[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _patterns(sources: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    try:
        return tuple(re.compile(source) for source in sources)
    except re.error as error:
        raise bad_value(f"invalid stop_regex: {error}") from None


def parse_sampling_params(
    given: dict[str, Any] | None, *, vocab_size: int, room_tokens: int
) -> SamplingParams:
    """Check one `sampling_params` object whose types the contract has accepted.

    Args:
        given: the JSON object, or None for all defaults.
        vocab_size: bound of `logit_bias` keys.
        room_tokens: tokens that still fit the context; longer answers are cut to this.

    Raises:
        RequestRefused: 400 with SGLang's message.
    """
    given = {key: value for key, value in (given or {}).items() if value is not None}
    temperature = given.get("temperature", 1.0)
    _check_ranges(given, temperature, vocab_size)
    max_new_tokens = given.get("max_new_tokens", DEFAULT_MAX_NEW_TOKENS)
    min_new_tokens = given.get("min_new_tokens", 0)
    _check_lengths(max_new_tokens, min_new_tokens)
    seed = given.get("sampling_seed")
    if seed is not None and not -(2**63) <= seed <= 2**63 - 1:
        raise bad_value(f"sampling_seed must be in [-2**63, 2**63 - 1], got {seed}.")
    greedy = temperature < _GREEDY_BELOW or given.get("top_k") == 1
    return SamplingParams(
        max_new_tokens=min(max_new_tokens, max(0, room_tokens)),
        min_new_tokens=min_new_tokens,
        temperature=1.0 if greedy else float(temperature),
        is_greedy=greedy,
        stop=tuple(text for text in _strings(given.get("stop")) if text),
        stop_regex=_patterns(_strings(given.get("stop_regex"))),
        stop_token_ids=frozenset(given.get("stop_token_ids", ())),
        ignore_eos=given.get("ignore_eos", False),
        skip_special_tokens=given.get("skip_special_tokens", True),
        no_stop_trim=given.get("no_stop_trim", False),
        stream_interval=max(1, given.get("stream_interval", 1)),
        sampling_seed=seed,
        n=given.get("n", 1),
    )
