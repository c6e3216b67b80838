"""What a /generate request asks for, read without decoding what nobody needs.

Follows `GenerateReqInput` of SGLang 0.5.23 (io_struct.py): which of text and input_ids counts, what
makes a batch, which ids its items run under. What a worker would refuse, or understand in a way
that this reading cannot follow, is `Uncached`: the worker shall answer it itself. This file must
not know how a request is changed, nor anything of tokens beyond their numbers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from miles_router.core.generate.prompts import read_prompts
from miles_router.core.generate.reasons import RefusalReason, Uncached
from miles_router.core.generate.splice import (
    MEMBERS,
    UNREADABLE,
    Member,
    Unwalkable,
    is_null,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Members = Mapping[str, msgspec.Raw]

MAX_ITEMS = 65_536
"""Answers of one request; a request for more is the worker's business alone."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_MEDIA = ("image_data", "video_data", "audio_data")
_EMBEDDINGS = "input_embeds"
_SESSIONS = ("session_params", "session_id")


class _Params(msgspec.Struct, frozen=True):
    n: int | None = None
    max_new_tokens: int | None = None
    skip_special_tokens: bool | None = None
    no_stop_trim: bool | None = None


_PARAMS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Params | list[_Params | None] | None)
_RID: msgspec.json.Decoder[Any] = msgspec.json.Decoder(str | list[str] | None)
_FLAG: msgspec.json.Decoder[Any] = msgspec.json.Decoder(bool | None)
_FLAGS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(bool | list[bool | None] | None)
_NUMBER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(int | None)


class _Plain(msgspec.Struct, frozen=True):  # a request with one text, as most are
    text: str
    sampling_params: _Params | None = None
    rid: str | None = None
    stream: bool | None = None
    return_logprob: bool | None = None
    return_routed_experts: bool | None = None
    routed_experts_start_len: int | None = None


_PLAIN = msgspec.json.Decoder(_Plain)
# What a plain request has not, not even as a null.
_NOT_PLAIN = frozenset({"input_ids", _EMBEDDINGS, *_MEDIA, *_SESSIONS})


class Sampling(msgspec.Struct, frozen=True):
    """The sampling parameters that decide what an answer shows.

    Args:
        max_new_tokens: None where the request leaves it to the worker.
        skip_special_tokens: special tokens show nothing in the text.
        no_stop_trim: the text keeps the stop token or string.
    """

    max_new_tokens: int | None = None
    skip_special_tokens: bool = True
    no_stop_trim: bool = False


class GenerateRequest(msgspec.Struct, frozen=True, eq=False):
    """A request that the token cache may have a part in.

    Args:
        body: as it came.
        members: where each member is in `body`, in order.
        texts: one for each prompt; None where the request brings ids, which then are the truth.
        ids: int32 arrays, one for each prompt; None where it brings texts only.
        is_list: the prompts came as a list, if only of one.
        n: samples of each prompt.
        is_stream: the answer is to be streamed.
        rid: request ids as given.
        asks_logprobs: for each prompt, whether the client wants log-probabilities itself.
        asks_routed_experts: likewise for routed experts.
        routed_experts_start: first row of them that the client wants.
        sampling: one for each prompt.
    """

    body: bytes
    members: Mapping[str, Member]
    texts: tuple[str, ...] | None
    ids: tuple[NDArray[np.int32], ...] | None
    is_list: bool
    n: int
    is_stream: bool
    rid: str | tuple[str, ...] | None
    asks_logprobs: tuple[bool, ...]
    asks_routed_experts: tuple[bool, ...]
    routed_experts_start: int
    sampling: tuple[Sampling, ...]

    @property
    def prompts(self) -> int:
        """How many prompts the request has."""
        return len(self.sampling)

    @property
    def items(self) -> int:
        """How many answers it wants: prompt by prompt, `n` of each."""
        return self.prompts * self.n

    @property
    def is_array_answer(self) -> bool:
        """Whether the answer is a JSON array, or its chunks carry an index."""
        return self.is_list or self.n > 1

    @property
    def rids(self) -> tuple[str, ...] | None:
        """The ids that the items run under; None where the worker makes them up."""
        if self.rid is None or self.n > 1:
            return None
        if isinstance(self.rid, tuple):
            return self.rid
        if self.is_list:
            return tuple(f"{self.rid}_{place}" for place in range(self.prompts))
        return (self.rid,)


def read_request(body: bytes) -> GenerateRequest:
    """What `body` asks for.

    Raises:
        Uncached: with the reason, whatever the bytes are; the request is to be relayed as it is.
    """
    members, places = _opened(body)
    plain = _plain(body, places)
    if plain is not None:
        return plain
    _refuse_what_is_no_text(members)
    texts, ids, is_list = read_prompts(members)
    prompts = len(ids if ids is not None else texts or ())
    n, sampling = _sampling(members, prompts)
    if prompts * n > MAX_ITEMS:
        raise Uncached(RefusalReason.BATCH_SHAPE)
    return GenerateRequest(
        body=body,
        members=places,
        texts=texts if ids is None else None,
        ids=ids,
        is_list=is_list,
        n=n,
        is_stream=bool(_read(members, "stream", _FLAG, RefusalReason.BAD_FIELD)),
        rid=_rid(members, prompts, is_list=is_list),
        asks_logprobs=_flags(members, "return_logprob", prompts),
        asks_routed_experts=_flags(members, "return_routed_experts", prompts),
        routed_experts_start=_read(
            members, "routed_experts_start_len", _NUMBER, RefusalReason.BAD_FIELD
        )
        or 0,
        sampling=sampling,
    )


def _plain(body: bytes, places: Mapping[str, Member]) -> GenerateRequest | None:
    """A plain request, read at once; None: member by member, if only to name what is wrong."""
    if not _NOT_PLAIN.isdisjoint(places):
        return None
    try:
        given = _PLAIN.decode(body)
    except UNREADABLE:
        return None
    params = given.sampling_params or _Params()
    if params.n not in {None, 1}:
        return None
    return GenerateRequest(
        body=body,
        members=places,
        texts=(given.text,),
        ids=None,
        is_list=False,
        n=1,
        is_stream=bool(given.stream),
        rid=given.rid,
        asks_logprobs=(bool(given.return_logprob),),
        asks_routed_experts=(bool(given.return_routed_experts),),
        routed_experts_start=given.routed_experts_start_len or 0,
        sampling=(_as_sampling(params),),
    )


def _opened(body: bytes) -> tuple[Members, Mapping[str, Member]]:
    try:
        members = MEMBERS.decode(body)
        return members, walk(body, members)
    except msgspec.ValidationError:
        raise Uncached(RefusalReason.NOT_AN_OBJECT) from None
    except Unwalkable:
        raise Uncached(RefusalReason.DUPLICATE_KEYS) from None
    except UNREADABLE:
        reason = RefusalReason.BAD_TEXT if _is_sound_but_for_text(body) else RefusalReason.NOT_JSON
        raise Uncached(reason) from None


def _is_sound_but_for_text(body: bytes) -> bool:
    """Whether only escapes of lone surrogates keep msgspec from reading an object."""
    mended = _SURROGATE.sub(rb"\\ufffd", body)
    try:
        return mended != body and bool(MEMBERS.decode(mended))
    except UNREADABLE:
        return False


def _refuse_what_is_no_text(members: Members) -> None:
    if any(not is_null(members.get(key)) for key in _MEDIA):
        raise Uncached(RefusalReason.MULTIMODAL)
    if not is_null(members.get(_EMBEDDINGS)):
        raise Uncached(RefusalReason.EMBEDDINGS)
    if any(not is_null(members.get(key)) for key in _SESSIONS):
        raise Uncached(RefusalReason.WORKER_SESSION)


def _sampling(members: Members, prompts: int) -> tuple[int, tuple[Sampling, ...]]:
    """(n, the parameters of each prompt)."""
    given: _Params | list[_Params | None] | None
    given = _read(members, "sampling_params", _PARAMS, RefusalReason.BAD_SAMPLING_PARAMS)
    if isinstance(given, list):
        if len(given) != prompts:
            raise Uncached(RefusalReason.BATCH_SHAPE)
        each = [one or _Params() for one in given]
        samples = {one.n or 1 for one in each}
        found = tuple(_as_sampling(one) for one in each)
    else:
        one = given or _Params()
        samples = {one.n or 1}
        found = (_as_sampling(one),) * prompts
    n = samples.pop()
    if samples or n < 1:
        raise Uncached(RefusalReason.BATCH_SHAPE)
    return n, found


def _as_sampling(params: _Params) -> Sampling:
    skips = params.skip_special_tokens
    return Sampling(
        max_new_tokens=params.max_new_tokens,
        skip_special_tokens=True if skips is None else skips,
        no_stop_trim=bool(params.no_stop_trim),
    )


def _rid(members: Members, prompts: int, *, is_list: bool) -> str | tuple[str, ...] | None:
    given: str | list[str] | None = _read(members, "rid", _RID, RefusalReason.BAD_RID)
    if not isinstance(given, list):
        return given
    if not is_list or len(given) != prompts:
        raise Uncached(RefusalReason.BATCH_SHAPE)
    return tuple(given)


def _flags(members: Members, key: str, prompts: int) -> tuple[bool, ...]:
    given: bool | Sequence[bool | None] | None = _read(
        members, key, _FLAGS, RefusalReason.BAD_FIELD
    )
    if not isinstance(given, list):
        return (bool(given),) * prompts
    if len(given) != prompts:
        raise Uncached(RefusalReason.BATCH_SHAPE)
    return tuple(bool(one) for one in given)


def _read(
    members: Members, key: str, decoder: msgspec.json.Decoder[Any], reason: RefusalReason
) -> Any:
    """A member's value; None where it is absent or null."""
    raw = members.get(key)
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        raise Uncached(reason) from None
