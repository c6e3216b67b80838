"""The prompts of a /generate request: texts or token ids, one or a list.

The batch shape follows `text` where there is one; ids are what a worker then takes (SGLang 0.5.23,
io_struct.py and tokenizer_manager.py). This file must not know the rest of a request.
"""

from __future__ import annotations

import re
from struct import pack
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import numpy as np

from miles_router.core.generate.reasons import RefusalReason, Uncached
from miles_router.core.generate.splice import UNREADABLE, is_null

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

TokenId = Annotated[int, msgspec.Meta(ge=0, le=0x7FFFFFFF)]

_NESTED = re.compile(rb"\[[ \t\n\r]*\[")
_TEXT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(str | list[str])
_IDS = msgspec.json.Decoder(list[TokenId])
_ID_LISTS = msgspec.json.Decoder(list[list[TokenId]])


class Prompts(NamedTuple):
    """The prompts of a request; at least one of `texts` and `ids` is not None."""

    texts: tuple[str, ...] | None
    ids: tuple[NDArray[np.int32], ...] | None
    is_list: bool


def read_prompts(members: Mapping[str, msgspec.Raw]) -> Prompts:
    """The prompts among a request's members.

    Raises:
        Uncached: there are none, or they are not what a worker takes.
    """
    texts = _texts(members.get("text"))
    ids = _ids(members.get("input_ids"))
    found = texts if texts is not None else ids
    if found is None:
        raise Uncached(RefusalReason.NO_PROMPT)
    if texts is not None and ids is not None:
        if texts[1] != ids[1] or len(texts[0]) != len(ids[0]):
            raise Uncached(RefusalReason.BATCH_SHAPE)
    elif not found[0]:
        raise Uncached(RefusalReason.BATCH_SHAPE)
    return Prompts(None if texts is None else texts[0], None if ids is None else ids[0], found[1])


def _texts(raw: msgspec.Raw | None) -> tuple[tuple[str, ...], bool] | None:
    """(texts, whether they are a list)."""
    if raw is None or is_null(raw):
        return None
    try:
        found: str | list[str] = _TEXT.decode(raw)
    except msgspec.ValidationError:
        raise Uncached(RefusalReason.BAD_PROMPT) from None
    except UNREADABLE:
        # The JSON is sound, so this is a string that is no UTF-8.
        raise Uncached(RefusalReason.BAD_TEXT) from None
    return (tuple(found), True) if isinstance(found, list) else ((found,), False)


def _ids(raw: msgspec.Raw | None) -> tuple[tuple[NDArray[np.int32], ...], bool] | None:
    """(int32 arrays, whether they are a list)."""
    if raw is None or is_null(raw):
        return None
    try:
        is_list = _NESTED.match(memoryview(raw)) is not None
        lists = _ID_LISTS.decode(raw) if is_list else [_IDS.decode(raw)]
    except UNREADABLE:
        raise Uncached(RefusalReason.BAD_INPUT_IDS) from None
    if not all(lists):
        raise Uncached(RefusalReason.BAD_INPUT_IDS)
    return tuple(map(id_array, lists)), is_list


def id_array(ids: list[int]) -> NDArray[np.int32]:
    """int32 [len], read-only, of numbers that fit.

    Through struct, which is half as long about it as np.array with numbers in a list.
    """
    return np.frombuffer(pack(f"<{len(ids)}i", *ids), dtype="<i4")
