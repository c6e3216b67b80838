"""The request that really goes to a worker: ids in place of text, and what the cache asks for.

Only the bytes of the members concerned change (rules 6 to 8 of the token cache: everything else
byte for byte). What is asked for beyond the client's own wishes is named, so that it can be taken
out of the answer again. This file must not know where ids come from.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from miles_router.core.generate.splice import UNREADABLE, Edit, apply, without
from miles_router.core.request import Rids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from miles_router.core.generate.request import GenerateRequest

# With `return_logprob` a worker adds these to meta_info; without it, none of them (SGLang 0.5.23,
# tokenizer_manager.py), even if the request has `top_logprobs_num` or `token_ids_logprob`.
LOGPROB_KEYS = frozenset(
    {
        "input_token_logprobs",
        "output_token_logprobs",
        "output_token_logprobs_length",
        "input_top_logprobs",
        "output_top_logprobs",
        "input_token_ids_logprobs",
        "output_token_ids_logprobs",
    }
)
ROUTED_EXPERTS_KEYS = frozenset({"routed_experts"})

_ENCODE = msgspec.json.Encoder().encode
_STARTS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(int | list[int | None] | None)
_NO_PROMPT_LOGPROBS = -1
# The samples of one prompt, and the prompts of one batch again and again, find it written: what is
# kept are 10 bytes a token, at most 21 MB.
KEPT_PROMPTS = 1_024
KEPT_TOKENS = 2_048


def rewritten(
    request: GenerateRequest,
    ids: Sequence[NDArray[np.int32]],
    *,
    rids: Sequence[str],
    ask_logprobs: bool,
    ask_routed_experts: Sequence[int] | None,
) -> bytes:
    """The body with `text` replaced, in its place, by `input_ids`.

    1,000 ids take 20 us: of all ways to write them, a list through msgspec is the quickest. What
    was written for the prompts before is kept, so the next sample of one takes 1 us.

    Args:
        request: one that brings texts.
        ids: int32 [tokens], one array for each prompt.
        rids: one for each prompt, added where the client names none and workers heed it (n = 1).
        ask_logprobs: ask for the log-probabilities of the output.
        ask_routed_experts: first row wanted, for each prompt; a request has one start for all its
            prompts, so the smallest is asked for. None, or a client that asks itself: as it is.

    Raises:
        ValueError: the request brings no text, or a sequence does not have one for each prompt.
    """
    if request.texts is None or len(ids) != request.prompts:
        raise ValueError(f"{len(ids)} prompts of ids for a request with {request.prompts}")
    place = request.members["text"]
    lists = [_written(one) for one in ids]
    written = b"[%b]" % b",".join(lists) if request.is_list else lists[0]
    edits = [
        Edit(place.key_start, place.key_end, b'"input_ids"'),
        Edit(place.start, place.end, written),
    ]
    if "input_ids" in request.members:  # null; beside the new member a second one of its name
        edits += without(request.members, {"input_ids"})
    wanted = _wanted_rid(request, rids)
    if ask_logprobs and not all(request.asks_logprobs):
        wanted["return_logprob"] = b"true"
        wanted |= _prompt_logprobs_as_asked(request)
    if ask_routed_experts is not None and not any(request.asks_routed_experts):
        wanted["return_routed_experts"] = b"true"
        wanted["routed_experts_start_len"] = _ENCODE(min(ask_routed_experts))
    return _edited(request, edits, wanted)


def _written(ids: NDArray[np.int32]) -> bytes:
    """Ids as a JSON array."""
    return _written_again(ids.tobytes()) if len(ids) <= KEPT_TOKENS else _ENCODE(ids.tolist())


@lru_cache(maxsize=KEPT_PROMPTS)
def _written_again(ids: bytes) -> bytes:
    return _ENCODE(np.frombuffer(ids, dtype="<i4").tolist())


def drops(
    request: GenerateRequest, *, ask_logprobs: bool, ask_routed_experts: bool
) -> tuple[frozenset[str], ...]:
    """What the answer of a rewritten request has beyond the client's wishes.

    Returns:
        Keys for each item of the answer, in its order.
    """
    found: list[frozenset[str]] = []
    adds_experts = ask_routed_experts and not any(request.asks_routed_experts)
    for asks_logprobs in request.asks_logprobs:
        logprobs = LOGPROB_KEYS if ask_logprobs and not asks_logprobs else frozenset()
        experts = ROUTED_EXPERTS_KEYS if adds_experts else frozenset()
        found += [logprobs | experts] * request.n
    return tuple(found)


def rids_of(request: GenerateRequest, made: Sequence[str]) -> Rids:
    """The ids that a request runs under, as `find_rids` finds them in its body.

    Args:
        request: as it came.
        made: what `rewritten` added where the client names none; empty where it added nothing.
    """
    rid = request.rid
    if request.n > 1:
        if not rid:
            return Rids()
        return Rids(of_caller=(rid,) if isinstance(rid, str) else rid)
    if rid is None:
        return Rids(tuple(made))
    return Rids(request.rids or ()) if rid else Rids()


def _wanted_rid(request: GenerateRequest, rids: Sequence[str]) -> dict[str, bytes]:
    if request.rid is not None or request.n > 1:
        return {}
    if len(rids) != request.prompts:
        raise ValueError(f"{len(rids)} request ids for {request.prompts} prompts")
    return {"rid": _ENCODE(list(rids) if request.is_list else rids[0])}


def _prompt_logprobs_as_asked(request: GenerateRequest) -> dict[str, bytes]:
    """The `logprob_start_len` that keeps workers from scoring prompts nobody asked about.

    Without `return_logprob` it has no effect; with it, it makes the worker compute the prompt anew
    from there, and refuse a start behind the prompt.
    """
    place = request.members.get("logprob_start_len")
    if place is None:
        return {}
    if not any(request.asks_logprobs):
        return {"logprob_start_len": _ENCODE(_NO_PROMPT_LOGPROBS)}
    try:
        given = _STARTS.decode(memoryview(request.body)[place.start : place.end])
    except UNREADABLE:
        return {}  # The worker refuses it.
    starts = given if isinstance(given, list) else [given] * request.prompts
    if len(starts) != request.prompts:
        return {}
    pairs = zip(starts, request.asks_logprobs, strict=True)
    return {
        "logprob_start_len": _ENCODE(
            [_NO_PROMPT_LOGPROBS if start is None or not asks else start for start, asks in pairs]
        )
    }


def _edited(request: GenerateRequest, edits: list[Edit], wanted: dict[str, bytes]) -> bytes:
    """The body with members set: in place where they are, else at the end."""
    body, members = request.body, request.members
    end = [*members.values()][-1].end
    for key, value in wanted.items():
        place = members.get(key)
        if place is None:
            edits.append(Edit(end, end, b',"%b":%b' % (key.encode(), value)))
        elif body[place.start : place.end] != value:
            edits.append(Edit(place.start, place.end, value))
    return b"".join(apply(memoryview(body), edits))
