"""SGLang 0.5.23's two checks of a /generate body: FastAPI's types, then the strict JSON contract.

FastAPI converts leniently (1 is true, "7" is 7) and refuses only what cannot be converted; the
contract then refuses whatever is not of the exact JSON type, in serde's words. Unknown top-level
keys pass, unknown sampling keys do not. Nothing here looks at values, only at shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from miles_router.sim.refusals import contract_violation, malformed

Check: TypeAlias = Callable[[Any], None]

_INTEGERS = ("max_new_tokens", "top_k", "min_new_tokens", "n", "stream_interval", "sampling_seed")
_PENALTIES = ("frequency_penalty", "presence_penalty", "repetition_penalty")
_FLAGS = ("ignore_eos", "skip_special_tokens", "spaces_between_special_tokens", "no_stop_trim")
_GRAMMARS = ("json_schema", "regex", "ebnf", "structural_tag")

SAMPLING_FIELDS = (
    *("max_new_tokens", "stop", "stop_token_ids", "stop_regex"),
    *("temperature", "top_p", "top_k", "min_p"),
    *_PENALTIES,
    *("min_new_tokens", "n"),
    *_GRAMMARS,
    *_FLAGS,
    *("stream_interval", "logit_bias", "sampling_seed", "custom_params", "beam_width"),
    *("watermark", "choice"),
)
"""In the order of SGLang's message about an unknown field."""


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{value}`"
    if isinstance(value, str):
        return f'string "{value}"'
    return "sequence" if isinstance(value, list) else "map"


def _exactly(kind: type, expected: str) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise contract_violation(f"invalid type: {_shown(value)}, expected {expected}")

    return check


def _number(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise contract_violation(f"invalid type: {_shown(value)}, expected f64")


def _list_of(check: Check) -> Check:
    def check_list(value: Any) -> None:
        if not isinstance(value, list):
            raise contract_violation(f"invalid type: {_shown(value)}, expected a sequence")
        for element in value:
            check(element)

    return check_list


def _one_or_list(check: Check) -> Check:
    check_list = _list_of(check)

    def check_either(value: Any) -> None:
        (check_list if isinstance(value, list) else check)(value)

    return check_either


def _token_ids(value: Any) -> None:
    nested = isinstance(value, list) and bool(value) and isinstance(value[0], list)
    (_list_of(_list_of(_integer)) if nested else _list_of(_integer))(value)


def _map_of_numbers(value: Any) -> None:
    _exactly(dict, "a map")(value)
    for element in value.values():
        _number(element)


def _anything(_value: Any) -> None:
    return


_integer = _exactly(int, "i64")
_boolean = _exactly(bool, "a boolean")
_string = _exactly(str, "a string")

_SAMPLING_CHECKS: dict[str, Check] = {
    **dict.fromkeys((*_INTEGERS, "beam_width"), _integer),
    **dict.fromkeys(("temperature", "top_p", "min_p", *_PENALTIES), _number),
    **dict.fromkeys(_FLAGS, _boolean),
    **dict.fromkeys(_GRAMMARS, _string),
    "stop": _one_or_list(_string),
    "stop_regex": _one_or_list(_string),
    "stop_token_ids": _list_of(_integer),
    "choice": _list_of(_string),
    "logit_bias": _map_of_numbers,
    "custom_params": _anything,
    "watermark": _exactly(dict, "struct WatermarkRequestConfig"),
}


def _sampling_params(value: Any) -> None:
    _exactly(dict, "struct SamplingParams")(value)
    for key, element in value.items():
        check = _SAMPLING_CHECKS.get(key)
        if check is None:
            listed = ", ".join(f"`{name}`" for name in SAMPLING_FIELDS)
            raise contract_violation(f"unknown field `{key}`, expected one of {listed}")
        if element is not None:
            check(element)


_FIELD_CHECKS: dict[str, Check] = {
    "rid": _one_or_list(_string),
    "text": _one_or_list(_string),
    "input_ids": _token_ids,
    "stream": _boolean,
    "sampling_params": _one_or_list(_sampling_params),
    "return_logprob": _one_or_list(_boolean),
    "logprob_start_len": _one_or_list(_integer),
    "top_logprobs_num": _one_or_list(_integer),
    "token_ids_logprob": _token_ids,
    "return_text_in_logprobs": _boolean,
    "return_prompt_token_ids": _boolean,
    "routed_experts_start_len": _integer,
    "routed_dp_rank": _integer,
    "data_parallel_rank": _integer,
    "disagg_prefill_dp_rank": _integer,
    "priority": _integer,
    "extra_key": _one_or_list(_string),
    "cache_salt": _one_or_list(_string),
    "routing_key": _string,
    "session_id": _string,
}


def _converts_to_integer(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lstrip("+-").isdigit()
    return isinstance(value, (bool, int)) or (isinstance(value, float) and value.is_integer())


def _converts_to_boolean(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() in {"true", "false", "yes", "no", "on", "off", "1", "0", "t", "f"}
    return isinstance(value, bool) or value in {0, 1}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _fits(value: Any, leaf: Callable[[Any], bool], depth: int) -> bool:
    """Whether `value` is a leaf or a list of leaves, nested at most `depth` deep."""
    if isinstance(value, list):
        return depth > 0 and all(_fits(element, leaf, depth - 1) for element in value)
    return leaf(value)


_FASTAPI_TYPES: dict[str, tuple[Callable[[Any], bool], int, str]] = {
    "text": (_is_text, 1, "a string or a list of strings"),
    "rid": (_is_text, 1, "a string or a list of strings"),
    "sampling_params": (lambda value: isinstance(value, dict), 1, "an object or a list of objects"),
    "stream": (_converts_to_boolean, 0, "a boolean"),
    "return_logprob": (_converts_to_boolean, 1, "a boolean or a list of booleans"),
    "return_routed_experts": (_converts_to_boolean, 0, "a boolean"),
    "return_prompt_token_ids": (_converts_to_boolean, 0, "a boolean"),
    "return_text_in_logprobs": (_converts_to_boolean, 0, "a boolean"),
    "logprob_start_len": (_converts_to_integer, 1, "an integer or a list of integers"),
    "top_logprobs_num": (_converts_to_integer, 1, "an integer or a list of integers"),
    "routed_experts_start_len": (_converts_to_integer, 0, "an integer"),
}


def check_generate_body(body: Any) -> None:
    """Refuse a /generate body whose shape SGLang refuses.

    Raises:
        RequestRefused: 400, FastAPI's shape or the contract's.
    """
    if not isinstance(body, dict):
        raise malformed("Input should be a valid dictionary or object")
    for key, (leaf, depth, expected) in _FASTAPI_TYPES.items():
        value = body.get(key)
        if value is not None and not _fits(value, leaf, depth):
            raise malformed(f"body.{key}: Input should be {expected}")
    ids = body.get("input_ids")
    if ids is not None and not (isinstance(ids, list) and _fits(ids, _converts_to_integer, 2)):
        raise malformed("body.input_ids: Input should be a list of integers or a list of lists")
    for key, check in _FIELD_CHECKS.items():
        value = body.get(key)
        if value is not None:
            check(value)
