"""Whether to believe what an item of an answer says.

Only what passes every check of length and id becomes an `AnswerItem` (rules 5, 7, 13 of the token
cache). The checks follow what SGLang 0.5.6 to 0.5.23 really send (tokenizer_manager.py). This file
must not know how an item was put together: whole, or from the chunks of a stream.
"""

from __future__ import annotations

import math
from operator import itemgetter
from struct import error as PackError  # noqa: N812 - it is a class
from struct import pack
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from miles_router.core.generate.items import AnswerItem, Expected, Parts, Triple
from miles_router.core.generate.prompts import TokenId, id_array
from miles_router.core.generate.reasons import RefusalReason, Uncached
from miles_router.core.generate.splice import UNREADABLE, is_null
from miles_router.core.trajectory.turn import VersionSpan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from miles_router.core.generate.opened import OpenedItem

_ENCODE = msgspec.json.Encoder().encode
_FIRST, _SECOND = itemgetter(0), itemgetter(1)
_FINISHES = frozenset({"stop", "length", "abort"})


class _Finish(msgspec.Struct, frozen=True):
    type: str
    status_code: int | None = None


class _Span(msgspec.Struct, frozen=True):
    version: str
    start: int
    end: int


IDS = msgspec.json.Decoder(list[TokenId])
TRIPLES = msgspec.json.Decoder(list[Triple])
_FINISH: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Finish | None)
_SPANS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[_Span] | None)
_STRING: msgspec.json.Decoder[Any] = msgspec.json.Decoder(str | None)
COUNT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(TokenId | None)


def is_error(item: OpenedItem) -> bool:
    """Whether an object is one of SGLang's error bodies, or the event of a broken stream."""
    return "meta_info" not in item.top and ("error" in item.top or "object" in item.top)


def parts_of(item: OpenedItem) -> Parts:
    """Decode what an item says itself.

    Raises:
        Uncached: something is missing or is not of its type.
    """
    if is_error(item):
        raise Uncached(RefusalReason.WORKER_ERROR)
    if item.meta is None:
        raise Uncached(RefusalReason.NO_META_INFO)
    raw_ids = item.top.get("output_ids")
    if raw_ids is None or is_null(raw_ids):
        raise Uncached(RefusalReason.NO_OUTPUT_IDS)
    raw_triples = item.meta.get("output_token_logprobs")
    has_triples = raw_triples is not None and not is_null(raw_triples)
    return Parts(
        output_ids=read_raw(raw_ids, IDS, RefusalReason.BAD_OUTPUT_IDS),
        text=read_raw(item.top.get("text"), _STRING, RefusalReason.BAD_ANSWER_TEXT),
        triples=read_raw(raw_triples, TRIPLES, RefusalReason.BAD_LOGPROBS) if has_triples else None,
        last=item,
    )


def read_raw(
    raw: msgspec.Raw | None, decoder: msgspec.json.Decoder[Any], reason: RefusalReason
) -> Any:
    """A member's value; None where it is absent.

    Raises:
        Uncached: with `reason`; it is not what `decoder` expects.
    """
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        raise Uncached(reason) from None


def judged(parts: Parts, expected: Expected, place: int) -> AnswerItem:
    """The item in place `place` of an answer, if all it says agrees.

    Raises:
        Uncached: with what does not.
    """
    meta = parts.last.meta or {}
    finish = _finish(meta)
    prompt_ids = expected.prompt_ids[place // expected.n]
    _check_counts(meta, parts, finish, len(prompt_ids))
    _check_prompt_ids(parts.last, prompt_ids)
    output_ids = id_array(parts.output_ids)
    if parts.output_ids and max(parts.output_ids) >= expected.vocab_size:
        raise Uncached(RefusalReason.OUT_OF_VOCABULARY)
    version = _lenient(meta.get("weight_version"))
    rid = _lenient(meta.get("id"))
    return AnswerItem(
        output_ids=output_ids,
        text=None if parts.text is None else parts.text.encode(),
        logprobs=_logprobs(meta, parts, is_asked=expected.asks_logprobs[place // expected.n]),
        finish=finish,
        rid=rid,
        weight_version=version,
        versions=_versions(meta, version, len(parts.output_ids)),
        routed_experts=_routed_experts(parts.last),
    )


def _finish(meta: Mapping[str, msgspec.Raw]) -> str:
    finish = read_raw(meta.get("finish_reason"), _FINISH, RefusalReason.BAD_FINISH_REASON)
    if finish is None:
        raise Uncached(RefusalReason.UNFINISHED)
    if finish.type not in _FINISHES:
        raise Uncached(RefusalReason.BAD_FINISH_REASON)
    if finish.type == "abort" and finish.status_code is not None:
        raise Uncached(RefusalReason.WORKER_ERROR)
    return str(finish.type)


def _check_counts(
    meta: Mapping[str, msgspec.Raw], parts: Parts, finish: str, prompt_tokens: int
) -> None:
    completion = read_raw(meta.get("completion_tokens"), COUNT, RefusalReason.COMPLETION_TOKENS)
    if completion != len(parts.output_ids):
        raise Uncached(RefusalReason.COMPLETION_TOKENS)
    given = read_raw(meta.get("prompt_tokens"), COUNT, RefusalReason.PROMPT_TOKENS)
    if given is None:
        # A request that was aborted while it waited has a short meta_info.
        if finish == "abort" and not parts.output_ids:
            raise Uncached(RefusalReason.QUEUE_ABORT)
        raise Uncached(RefusalReason.NO_PROMPT_TOKENS)
    if given != prompt_tokens:
        raise Uncached(RefusalReason.PROMPT_TOKENS)


def _logprobs(meta: Mapping[str, msgspec.Raw], parts: Parts, *, is_asked: bool) -> bytes:
    count = len(parts.output_ids)
    triples = parts.triples
    if triples is None:
        if is_asked and count:
            raise Uncached(RefusalReason.NO_LOGPROBS)
        return np.full(count, np.nan, dtype="<f4").tobytes()
    told = meta.get("output_token_logprobs_length")
    if read_raw(told, COUNT, RefusalReason.LOGPROB_COUNT) not in {None, len(triples)}:
        raise Uncached(RefusalReason.LOGPROB_COUNT)
    if not count and len(triples) <= 1:
        return b""  # Where no token may be made, SGLang still reports the one it would have been.
    if len(triples) != count:
        raise Uncached(RefusalReason.LOGPROB_COUNT)
    if list(map(_SECOND, triples)) != parts.output_ids:
        raise Uncached(RefusalReason.LOGPROB_IDS)
    try:
        return pack(f"<{count}f", *map(_FIRST, triples))
    except PackError:  # a null among them
        values = (math.nan if value is None else value for value, *_ in triples)
        return pack(f"<{count}f", *values)


def _lenient(raw: msgspec.Raw | None) -> str | None:
    """A string; None for whatever else a worker may send, for it decides nothing."""
    try:
        found: str | None = None if raw is None else _STRING.decode(raw)
    except UNREADABLE:
        return None
    return found


def _versions(
    meta: Mapping[str, msgspec.Raw], version: str | None, count: int
) -> tuple[VersionSpan, ...]:
    """The worker's spans; where it names none, one of `version`.

    Raises:
        Uncached: they have gaps, overlap, or do not end with the output. Which weights made which
            token is then not known.
    """
    named = read_raw(meta.get("weight_versions"), _SPANS, RefusalReason.WEIGHT_VERSIONS)
    if named is None:
        return (VersionSpan(version, 0, count),) if count else ()
    spans = [span for span in named if span.start != span.end]
    ends = [0, *(span.end for span in spans)]
    starts = [*(span.start for span in spans), count]
    if ends != starts or ends != sorted(ends):
        raise Uncached(RefusalReason.WEIGHT_VERSIONS)
    return tuple(VersionSpan(span.version, span.start, span.end) for span in spans)


def _routed_experts(item: OpenedItem) -> memoryview | None:
    if item.blob is not None:
        return item.blob
    raw = (item.meta or {}).get("routed_experts")
    if raw is None or is_null(raw):
        return None
    quoted = memoryview(raw)
    return quoted[1:-1] if bytes(quoted[:1]) == b'"' else quoted


def _check_prompt_ids(item: OpenedItem, prompt_ids: NDArray[np.int32]) -> None:
    """That the prompt which an answer names, if it names one, is the one that was sent."""
    raw = item.top.get("prompt_token_ids")
    if raw is None or is_null(raw):
        return
    sent = prompt_ids.tolist()
    # A worker writes them as msgspec does, and to write numbers is quicker than to read them.
    is_same = bytes(memoryview(raw)) == _ENCODE(sent)
    if not is_same and read_raw(raw, IDS, RefusalReason.PROMPT_TOKEN_IDS) != sent:
        raise Uncached(RefusalReason.PROMPT_TOKEN_IDS)
