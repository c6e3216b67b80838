"""Which part of a text each of its tokens stands for.

Where the tokens spell the text, their own bytes say it. Else (a normalizer changed characters, a
special token swallowed spaces) the tokenizer's offsets do. Lengths always sum to the text. This
file must not know a tokenizer's library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from miles_router.core.radix.run import UnfitRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from miles_router.core.radix.run import TokenRun


def spelled_lengths(spelled: TokenRun, data: bytes) -> NDArray[np.int64] | None:
    """Lengths int64 [len] of tokens that spell `data`; None if they spell something else.

    The first token may show a space that is not in `data`: SentencePiece's mark of a beginning.
    """
    lengths = spelled.length_array.astype(np.int64)
    if spelled.text == data:
        return lengths
    if spelled.text[:1] == b" " and spelled.text[1:] == data:
        lengths[np.flatnonzero(lengths)[0]] -= 1
        return lengths
    return None


def offset_lengths(offsets: Sequence[tuple[int, int]], data: bytes) -> NDArray[np.int64]:
    """Lengths int64 [len] in bytes from a tokenizer's offsets in characters.

    Of tokens that share a character only the last one gets it; text that no token covers goes to
    the next one that covers any, else to the last.

    Args:
        offsets: [start, end) of each token, in characters of the text; at least one.
        data: the text in UTF-8.
    """
    spans = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    starts, ends = spans[:, 0].copy(), spans[:, 1].copy()
    # A token without text of its own stands behind whatever came before it.
    reached = np.maximum.accumulate(ends)
    is_empty = starts >= ends
    starts[is_empty] = ends[is_empty] = reached[is_empty]
    limits = np.minimum(ends, np.append(starts[1:], np.iinfo(np.int64).max))
    limits[-1] = np.iinfo(np.int64).max
    limits = np.minimum.accumulate(limits[::-1])[::-1]
    byte_of = _byte_of_character(data)
    bounds: NDArray[np.int64] = byte_of[np.clip(limits, 0, byte_of.size - 1)]
    return np.diff(bounds, prepend=0)


def utf8(text: str) -> bytes:
    """`text` in UTF-8.

    Raises:
        UnfitRun: it holds half of a surrogate pair, as JSON allows; no tokenizer takes that.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnfitRun(f"the text is not Unicode: {error.reason}") from None


def _byte_of_character(data: bytes) -> NDArray[np.int64]:
    """Where each character of `data` begins, and where the last one ends: int64 [characters+1]."""
    is_start = (np.frombuffer(data, dtype=np.uint8) & 0xC0) != 0x80
    return np.append(np.flatnonzero(is_start), len(data)).astype(np.int64)
