"""One item of a streamed answer, put together from its chunks.

Nothing in a stream says whether its chunks are cumulative (each holds all so far) or deltas, so
each chunk is placed by its own numbers: it holds everything if it has as many ids as
`completion_tokens` says were made, else it is a delta (SGLang 0.5.9 to 0.5.23). Placing one wrongly
would lose ids or double them, and then the count of the last chunk does not fit. This file must not
know events or how an item is judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from miles_router.core.generate.items import Parts
from miles_router.core.generate.judging import COUNT, parts_of, read_raw
from miles_router.core.generate.reasons import RefusalReason, Uncached
from miles_router.core.generate.splice import is_null

if TYPE_CHECKING:
    import msgspec

    from miles_router.core.generate.items import Triple
    from miles_router.core.generate.opened import OpenedItem

_T = TypeVar("_T")


class GatheredItem:
    """What the chunks of one index have said so far."""

    def __init__(self) -> None:
        self.is_finished = False
        self._whole: OpenedItem | None = None  # a chunk with everything, not decoded yet
        self._parts: Parts | None = None  # what deltas have added up to, but for the text
        self._texts: list[str] = []
        self._shows_whole_text = False
        self._chunk_bytes = self._numbers_bytes = self._text_bytes = 0

    @property
    def size_bytes(self) -> int:
        """How much is held of the chunks, counted in bytes as the worker wrote them."""
        return self._chunk_bytes + self._numbers_bytes + self._text_bytes

    def take(self, chunk: OpenedItem) -> None:
        """Add a chunk.

        Raises:
            Uncached: it has not what a chunk has; the item is then worth nothing.
        """
        meta = chunk.meta
        raw_ids = chunk.top.get("output_ids")
        if meta is None:
            raise Uncached(RefusalReason.NO_META_INFO)
        if raw_ids is None or is_null(raw_ids):
            raise Uncached(RefusalReason.NO_OUTPUT_IDS)
        made = read_raw(meta.get("completion_tokens"), COUNT, RefusalReason.COMPLETION_TOKENS)
        if made is None:
            raise Uncached(RefusalReason.COMPLETION_TOKENS)
        self.is_finished = not is_null(meta.get("finish_reason"))
        # SGLang up to 0.5.9, where it streams deltas, still sends the text as a whole.
        self._shows_whole_text |= "total_retractions" in meta
        if count_numbers(raw_ids) >= made:
            self._whole, self._parts = chunk, None
            self._numbers_bytes = self._text_bytes = 0
        else:
            self._extend(chunk, made)
        self._chunk_bytes = _size_bytes(chunk)

    def parts(self) -> Parts:
        """All that was said.

        Raises:
            Uncached: it cannot be read, or there was nothing.
        """
        if self._whole is not None:
            return parts_of(self._whole)
        if self._parts is None:
            raise Uncached(RefusalReason.UNFINISHED)
        self._parts.text = "".join(self._texts) if self._texts else None
        return self._parts

    def _extend(self, chunk: OpenedItem, made: int) -> None:
        have = self._parts
        if have is None:
            have = Parts([], None, None, chunk) if self._whole is None else parts_of(self._whole)
            self._texts = [] if have.text is None else [have.text]
            self._numbers_bytes = self._chunk_bytes  # of that whole chunk
        new = parts_of(chunk)
        if self._shows_whole_text:
            self._texts.clear()
            self._text_bytes = 0
        if new.text is not None:
            self._texts.append(new.text)
            self._text_bytes += len(new.text)
        triples = (chunk.meta or {}).get("output_token_logprobs")
        self._numbers_bytes += _raw_bytes(chunk.top.get("output_ids")) + _raw_bytes(triples)
        self._parts = Parts(
            output_ids=extended(have.output_ids, new.output_ids, made, is_last=self.is_finished),
            text=None,
            triples=_triples(have.triples, new.triples, made, is_last=self.is_finished),
            last=chunk,
        )
        self._whole = None


def _size_bytes(chunk: OpenedItem) -> int:
    blob_bytes = 0 if chunk.blob is None else len(chunk.blob)
    return blob_bytes + sum(map(_raw_bytes, chunk.top.values()))


def _raw_bytes(raw: msgspec.Raw | None) -> int:
    return 0 if raw is None else len(memoryview(raw))


def count_numbers(raw: msgspec.Raw) -> int:
    """How many elements a JSON array of numbers has, without decoding it."""
    data = bytes(memoryview(raw))
    return data.count(b",") + 1 if data.strip(b"[] \t\n\r") else 0


def extended(have: list[_T], new: list[_T], total: int, *, is_last: bool) -> list[_T]:
    """`have` with a delta, of which there are `total` after it.

    A delta with all of them stands alone. The last chunk of an aborted stream may repeat what the
    one before it held.
    """
    if len(new) >= total:
        return new
    repeated = len(have) + len(new) - total
    if is_last and repeated > 0 and have[-repeated:] == new[:repeated]:
        new = new[repeated:]
    have += new
    return have


def _triples(
    have: list[Triple] | None, new: list[Triple] | None, total: int, *, is_last: bool
) -> list[Triple] | None:
    if have is None or new is None:
        return have if new is None else new
    return extended(have, new, total, is_last=is_last)
