"""A worker's whole answer, item by item: each is believed, or refused, alone.

This file must not know where items are stored or what they are good for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core.generate.judging import is_error, judged, parts_of
from miles_router.core.generate.opened import OpenedAnswer, OpenedItem, open_answer
from miles_router.core.generate.reasons import RefusalReason, Uncached

if TYPE_CHECKING:
    from miles_router.core.generate.items import AnswerItem, Expected


def read_answer(
    body: bytes | bytearray | memoryview | OpenedAnswer, expected: Expected
) -> list[AnswerItem | RefusalReason]:
    """Each item of an answer, or why it is refused; never raises, whatever the bytes are.

    Returns:
        As many as expected. Where the whole cannot be read, or has another number of items, all
        are refused for that.
    """
    answer = body if isinstance(body, OpenedAnswer) else open_answer(body)
    if answer.is_array != expected.is_array or len(answer.items) != expected.items:
        first = answer.items[0] if answer.items and not answer.is_array else None
        reason = RefusalReason.ANSWER_SHAPE
        if isinstance(first, RefusalReason):
            reason = first
        elif first is not None and is_error(first):
            reason = RefusalReason.WORKER_ERROR
        return [reason] * expected.items
    return [_read(item, expected, place) for place, item in enumerate(answer.items)]


def _read(
    item: OpenedItem | RefusalReason, expected: Expected, place: int
) -> AnswerItem | RefusalReason:
    if isinstance(item, RefusalReason):
        return item
    try:
        return judged(parts_of(item), expected, place)
    except Uncached as refused:
        return refused.reason
