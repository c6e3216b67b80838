"""From the bytes that tokens stand for to the text that they show.

Decides which token shows a character whose bytes several tokens share: the one with its last byte.
The same holds for U+FFFD, which stands for bytes that are no UTF-8: one for each longest beginning
of a character that is not completed (Unicode 15, section 3.9), as `bytes.decode(errors="replace")`
and Rust's `from_utf8_lossy` write it. This file must not know what a token or a vocabulary is.
"""

from __future__ import annotations

import codecs
import threading
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPLACEMENT = "\ufffd".encode()
# Characters of one, two and three bytes: what is broken is measured as if it were one of them.
_STAND_INS = (b"", b"x", "\u00e9".encode(), REPLACEMENT)
_NOTED = "miles_router.noted"


class _Notes(threading.local):
    """The broken ranges of the decoding that a thread is at."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []


_notes = _Notes()


def _note(error: UnicodeError) -> tuple[str, int]:
    """Does as "replace" does, and notes where. 16 errors take 9 us, raised and caught 26."""
    assert isinstance(error, UnicodeDecodeError)
    _notes.ranges.append((error.start, error.end))
    return "\ufffd", error.end


codecs.register_error(_NOTED, _note)


def find_broken(data: bytes) -> tuple[str, list[tuple[int, int]]]:
    """`data` as text, and the ranges [start, end) that "replace" writes as one U+FFFD each."""
    _notes.ranges = []
    return data.decode(errors=_NOTED), _notes.ranges


def settle(data: bytes, lengths: NDArray[np.integer]) -> tuple[bytes, NDArray[np.int64]]:
    """The text of `data`, and how many bytes of it each token shows.

    Args:
        data: the bytes of all tokens, joined.
        lengths: integers, one for each token, its bytes in `data`; they sum to `len(data)`.

    Returns:
        Valid UTF-8, equal to `data.decode(errors="replace").encode()`, and int64 lengths that sum
        to its length. Tokens end between characters only.
    """
    text, broken = find_broken(data)
    ends = np.cumsum(lengths, dtype=np.int64)
    # One byte more, so that the end of the data is looked at like any other place.
    whole = bytearray(data)
    whole.append(0)
    for start, end in broken:
        whole[start:end] = _STAND_INS[end - start]
    values = np.frombuffer(whole, dtype=np.uint8)
    held = np.flatnonzero((values.take(ends) & 0xC0) == 0x80)
    while held.size:  # three times at most: no character has more than four bytes
        ends[held] -= 1
        held = held[(values[ends[held]] & 0xC0) == 0x80]
    if broken:
        ranges = np.array(broken)
        growths = np.zeros(len(broken) + 1, dtype=np.int64)
        np.cumsum(len(REPLACEMENT) - ranges[:, 1] + ranges[:, 0], out=growths[1:])
        ends += growths.take(np.searchsorted(ranges[:, 1], ends, side="right"))
        data = text.encode()
    own = ends.copy()
    own[1:] -= ends[:-1]
    return data, own
