"""Sampling parameters as SGLang 0.5.23 accepts them, and the two ways of refusing them.

The contract is strict: an unknown key or a wrong type is a `ContractError` (400 whose `error` is a
string), a value out of range is a `RequestError` (400 whose `error` is an object). A feature that
this worker lacks is refused too, unless the request asks for its neutral value: nothing is ignored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GREEDY_BELOW = 1e-6


class ContractError(Exception):
    """The JSON breaks the contract of the route: answered as `{"error": "..."}`."""


class RequestError(Exception):
    """A well-formed request that cannot be served: answered as `{"error": {"message": "..."}}`."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one sequence is drawn and when it ends."""

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    no_stop_trim: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    stream_interval: int = 1
    sampling_seed: int | None = None
    n: int = 1

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature < GREEDY_BELOW or self.top_k == 1


def _int(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ContractError(f"invalid type for `{key}`: expected an integer, got {value!r}")
    return value


def _float(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ContractError(f"invalid type for `{key}`: expected a number, got {value!r}")
    return float(value)


def _bool(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ContractError(f"invalid type for `{key}`: expected a boolean, got {value!r}")
    return value


def _strings(key: str, value: object) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise ContractError(f"invalid type for `{key}`: expected a string or a list of strings")
    return tuple(v for v in values if v)


def _ints(key: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ContractError(f"invalid type for `{key}`: expected a list of integers")
    return tuple(_int(key, v) for v in value)


_READERS: dict[str, Callable[[str, object], object]] = {
    "max_new_tokens": _int,
    "stop": _strings,
    "stop_token_ids": _ints,
    "temperature": _float,
    "top_p": _float,
    "top_k": _int,
    "min_p": _float,
    "min_new_tokens": _int,
    "n": _int,
    "ignore_eos": _bool,
    "skip_special_tokens": _bool,
    "spaces_between_special_tokens": _bool,
    "no_stop_trim": _bool,
    "stream_interval": _int,
    "sampling_seed": _int,
}

# What this worker cannot do, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "stop_regex": ([], ""),
    "frequency_penalty": (0.0,),
    "presence_penalty": (0.0,),
    "repetition_penalty": (1.0,),
    "json_schema": (),
    "regex": (),
    "ebnf": (),
    "structural_tag": (),
    "logit_bias": ({},),
    "custom_params": ({},),
    "beam_width": (1,),
    "watermark": ({},),
    "choice": ([],),
}


def read_sampling_params(raw: Mapping[str, object]) -> SamplingParams:
    """Check `sampling_params` of a request; `null` means the default.

    Raises:
        ContractError: an unknown key or a wrong type.
        RequestError: a value out of range, or a feature this worker lacks.
    """
    known: dict[str, object] = {}
    for key, value in raw.items():
        reader = _READERS.get(key)
        if reader is None and key not in _NEUTRAL:
            listed = ", ".join(f"`{name}`" for name in (*_READERS, *_NEUTRAL))
            raise ContractError(f"unknown field `{key}`, expected one of {listed}")
        if value is None:
            continue
        if reader is not None:
            known[key] = reader(key, value)
        elif value not in _NEUTRAL[key]:
            raise RequestError(
                f"{key} is not available on this worker (transformers on the CPU); leave it out"
            )
    params = SamplingParams(**known)  # type: ignore[arg-type]  # each reader checked its type
    check_ranges(params)
    return params


def check_ranges(params: SamplingParams) -> None:
    """Refuse values that mean nothing.

    Raises:
        RequestError: names the value and its range.
    """
    p = params
    rules = (
        (math.isfinite(p.temperature) and p.temperature >= 0, "temperature must be 0 or more"),
        (0 < p.top_p <= 1, "top_p must be in (0, 1]"),
        (p.top_k == -1 or p.top_k >= 1, "top_k must be -1 (all) or at least 1"),
        (0 <= p.min_p <= 1, "min_p must be in [0, 1]"),
        (p.max_new_tokens >= 0, "max_new_tokens must be 0 or more"),
        (
            0 <= p.min_new_tokens <= p.max_new_tokens,
            "min_new_tokens must be in [0, max_new_tokens]",
        ),
        (p.n >= 1, "n must be at least 1"),
        (p.stream_interval >= 1, "stream_interval must be at least 1"),
    )
    for holds, message in rules:
        if not holds:
            raise RequestError(message)
