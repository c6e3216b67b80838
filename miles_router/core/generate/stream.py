"""A streamed answer on its way to the client: what it says is gathered, what only the router asked
for is taken out.

Follows SGLang's streams (tokenizer_manager.py, 0.5.9 to 0.5.23): one JSON object an event, chunks
of several items interleaved by `index`, `[DONE]` at the end, errors as events. Bytes go through
unchanged unless something has to be taken out. This file must not know sockets, nor who waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from miles_router.core.generate.gathered import GatheredItem
from miles_router.core.generate.judging import is_error, judged
from miles_router.core.generate.opened import OpenedItem, open_answer, stripped
from miles_router.core.generate.reasons import RefusalReason, Uncached
from miles_router.core.generate.splice import UNREADABLE
from miles_router.core.generate.sse import data_span

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from miles_router.core.generate.items import AnswerItem, Expected
    from miles_router.core.generate.opened import OpenedAnswer

_INDEX: msgspec.json.Decoder[Any] = msgspec.json.Decoder(int | None)
_DONE = b"[DONE]"


class StreamCollector:
    """Gathers the items of one stream.

    Args:
        expected: what they must agree with.
        drops: for each item, the keys to be taken out of its chunks.
    """

    def __init__(self, expected: Expected, drops: Sequence[Set[str]]) -> None:
        self._expected = expected
        self._drops = drops
        self._items: dict[int, GatheredItem] = {}
        self._refused: dict[int, RefusalReason] = {}
        self._unfinished = expected.items
        self._broken: RefusalReason | None = None
        self._is_done = False
        self.size_bytes = 0
        """How much is held of what was said, counted in bytes as the worker wrote them."""

    @property
    def holds_end(self) -> bool:
        """Whether nothing can be added any more: all items have finished, or the stream has failed.

        From the event on with which this becomes true, events must wait until what `items` says
        has been stored, so that a client that saw the end finds all of it.
        """
        return self._is_done or self._unfinished == 0 or self._broken is not None

    def take(self, event: bytes) -> bytes:
        """Note what an event says; the bytes that the client gets for it. Never raises."""
        span = data_span(event)
        if span is None:
            return event
        start, end = span
        if event[start : min(end, start + 16)].strip() == _DONE:
            self._is_done = True
            return event
        opened = open_answer(event, start, end)
        item = opened.items[0] if len(opened.items) == 1 and not opened.is_array else None
        if not isinstance(item, OpenedItem):
            self._broken = RefusalReason.ANSWER_SHAPE if item is None else item
            return event
        if is_error(item):
            self._broken = RefusalReason.WORKER_ERROR
            return event
        index = self._index(item)
        if index is None:
            self._broken = RefusalReason.ANSWER_SHAPE
            return event
        self._gather(index, item)
        return self._without_extras(event, start, end, opened, index)

    def items(self) -> list[AnswerItem | RefusalReason]:
        """Each item, or why it is refused, as `read_answer` gives them."""
        return [self._judged(index) for index in range(self._expected.items)]

    def _index(self, item: OpenedItem) -> int | None:
        raw = item.top.get("index")
        if raw is None:
            return None if self._expected.is_array else 0
        try:
            index = _INDEX.decode(raw)
        except UNREADABLE:
            return None
        return index if index is not None and 0 <= index < self._expected.items else None

    def _gather(self, index: int, item: OpenedItem) -> None:
        gathered = self._items.setdefault(index, GatheredItem())
        was_finished, before_bytes = gathered.is_finished, gathered.size_bytes
        try:
            gathered.take(item)
        except Uncached as refused:
            self._refused.setdefault(index, refused.reason)
        self._unfinished += was_finished - gathered.is_finished
        self.size_bytes += gathered.size_bytes - before_bytes

    def _judged(self, index: int) -> AnswerItem | RefusalReason:
        if index in self._refused:
            return self._refused[index]
        gathered = self._items.get(index)
        if gathered is None or not gathered.is_finished:
            return self._broken or RefusalReason.UNFINISHED
        try:
            return judged(gathered.parts(), self._expected, index)
        except Uncached as refused:
            return refused.reason

    def _without_extras(
        self, event: bytes, start: int, end: int, opened: OpenedAnswer, index: int
    ) -> bytes:
        dropped = self._drops[index]
        if not dropped:
            return event
        view = memoryview(event)
        return b"".join((view[:start], *stripped(opened, (dropped,)), view[end:]))
