"""The answer of a worker opened up: its items, their members as they stand on the wire.

Nothing large is decoded, and members can be taken out again without touching the rest. Base64 of
routed experts is set aside before msgspec looks at the answer: it holds no quote, so its end is
found by a plain byte search (67 MB: 4 ms, where skipping it in msgspec takes 17 ms, both with the
interpreter locked). This file must not know what a good answer is.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from miles_router.core.generate.reasons import RefusalReason
from miles_router.core.generate.splice import (
    ELEMENTS,
    MEMBERS,
    UNREADABLE,
    Edit,
    Unwalkable,
    apply,
    cuts_behind_others,
    walk,
    walk_list,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    Blobs: TypeAlias = tuple[tuple[int, int, int], ...]

# Below these sizes, setting aside costs more than it saves.
MIN_ANSWER_BYTES = 256 * 1024
MIN_BLOB_BYTES = 64 * 1024

_BLOB = "routed_experts"
_BLOB_KEY = b'"routed_experts"'
_BEFORE_BLOB = b" \t\n\r:"
_QUOTE = ord('"')


class OpenedItem(msgspec.Struct, frozen=True):
    """One answer; its `msgspec.Raw` members are views of the skeleton.

    Args:
        top: members of the item.
        meta: members of its `meta_info`; None where that is no object.
        blob: base64 of its routed experts, without quotes, where that has been set aside.
        start: where the item begins in the skeleton.
    """

    top: Mapping[str, msgspec.Raw]
    meta: Mapping[str, msgspec.Raw] | None
    blob: memoryview | None
    start: int


class OpenedAnswer(msgspec.Struct, frozen=True):
    """A whole answer, or what one event of a stream carries.

    Args:
        items: in order; a reason in place of what cannot be read. One reason if that is the whole.
        is_array: the answer is a JSON array.
        view: its bytes.
        skeleton: the same without what has been set aside.
        blobs: (place in the skeleton, start in `view`, end in `view`) of each of those.
    """

    items: tuple[OpenedItem | RefusalReason, ...]
    is_array: bool
    view: memoryview
    skeleton: bytes
    blobs: Blobs


def open_answer(
    body: bytes | bytearray | memoryview, start: int = 0, end: int | None = None
) -> OpenedAnswer:
    """Bytes [start, end) of `body` as an answer; never raises, whatever they are.

    The result keeps views of `body`: a bytearray cannot be resized meanwhile, and must not change.
    """
    view = memoryview(body)[start:end]
    blobs = _blobs(body, start, start + len(view)) if len(view) >= MIN_ANSWER_BYTES else ()
    if not blobs and isinstance(body, bytes) and len(view) == len(body):
        skeleton = body
    else:
        skeleton = b"".join(apply(view, [Edit(first, last) for _, first, last in blobs]))
    is_array = _begins_array(skeleton)
    items: tuple[OpenedItem | RefusalReason, ...]
    around = (skeleton, view, blobs)
    try:
        if is_array:
            elements = ELEMENTS.decode(skeleton)
            places = walk_list(skeleton, elements)
            pairs = zip(elements, places, strict=True)
            items = tuple(_item(around, raw, place) for raw, place in pairs)
        else:
            items = (_item(around, skeleton, 0),)
    except UNREADABLE:
        return OpenedAnswer((RefusalReason.ANSWER_NOT_JSON,), False, view, skeleton, blobs)
    return OpenedAnswer(items, is_array, view, skeleton, blobs)


def stripped(answer: OpenedAnswer, drops: Sequence[Set[str]]) -> list[bytes | memoryview]:
    """The answer as the client would have had it, in pieces that are views of it.

    Keys go with their comma; all other bytes stay. An item that is no object, or has a key twice,
    stays as it is.

    Args:
        answer: what the worker sent.
        drops: for each item, the keys of its `meta_info` that it has only because the router asked
            for them.
    """
    edits: list[Edit] = []
    for item, dropped in zip(answer.items, drops, strict=False):
        if isinstance(item, OpenedItem) and dropped:
            try:
                edits += _cuts(answer.skeleton, item, dropped)
            except Unwalkable:
                continue
    return list(apply(answer.view, _unskeletoned(edits, answer.blobs)))


def _begins_array(buffer: bytes) -> bool:
    return buffer[:64].lstrip(b" \t\n\r")[:1] == b"["


def _cuts(skeleton: bytes, item: OpenedItem, dropped: Set[str]) -> list[Edit]:
    if item.meta is None or dropped.isdisjoint(item.meta):
        return []
    edits = cuts_behind_others(skeleton, item.meta, dropped)
    if edits is not None:
        return edits
    places = walk(skeleton, item.top, item.start)
    return without(walk(skeleton, item.meta, places["meta_info"].start), dropped)


def _unskeletoned(edits: Iterable[Edit], blobs: Blobs) -> Iterable[Edit]:
    """Edits of the skeleton as edits of the view; none begins or ends where a blob was."""
    if not blobs:
        return edits
    places = [place for place, _, _ in blobs]

    def in_view(offset: int) -> int:
        before = bisect_left(places, offset) - 1
        return offset if before < 0 else offset - places[before] + blobs[before][2]

    return [Edit(in_view(edit.start), in_view(edit.end), edit.data) for edit in edits]


def _blobs(body: bytes | bytearray | memoryview, start: int, end: int) -> Blobs:
    """The long strings under the key of routed experts.

    In sound JSON the key with its colon and a quote can only be followed by a string, at whatever
    depth; so whether the rest is sound does not depend on what that string holds. One with a quote
    in it, which no base64 has, makes the answer unreadable.
    """
    source = body.obj if isinstance(body, memoryview) and body.c_contiguous else body
    if not isinstance(source, bytes | bytearray) or len(source) != len(memoryview(body)):
        return ()
    found = []
    place, removed = start, start
    while (key := source.find(_BLOB_KEY, place, end)) >= 0:
        place = key + len(_BLOB_KEY)
        while place < end and source[place] in _BEFORE_BLOB:
            place += 1
        if place >= end or source[place] != _QUOTE:
            continue
        first = place + 1
        last = source.find(b'"', first, end)
        if last < 0:
            break
        if last - first >= MIN_BLOB_BYTES:
            found.append((first - removed, first - start, last - start))
            removed += last - first
        place = last + 1
    return tuple(found)


def _item(
    answer: tuple[bytes, memoryview, Blobs], source: bytes | msgspec.Raw, start: int
) -> OpenedItem | RefusalReason:
    skeleton, view, blobs = answer
    try:
        top = MEMBERS.decode(source)
    except msgspec.ValidationError:
        return RefusalReason.ANSWER_SHAPE
    meta = None
    if "meta_info" in top:
        try:
            meta = MEMBERS.decode(top["meta_info"])
        except msgspec.ValidationError:
            meta = None
    blob = None
    if blobs and meta is not None and _BLOB in meta:
        try:
            places = walk(skeleton, meta, walk(skeleton, top, start)["meta_info"].start)
        except Unwalkable:
            return RefusalReason.ANSWER_SHAPE
        quoted = places[_BLOB].start + 1
        blob = next((view[first:last] for place, first, last in blobs if place == quoted), None)
    return OpenedItem(top, meta, blob, start)
