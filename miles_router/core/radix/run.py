"""A run of tokens and the text they show: the values that the token cache is made of.

Text is UTF-8, as a client sees it: U+FFFD stands where ids are no text. Each token adds zero or
more bytes of it; a token that shows nothing (a special token left out, the first half of a
character) adds zero, and the token that completes a character adds the whole of it. So tokens only
ever end between characters. Immutable and packed, because millions are kept: 4 bytes for an id, 2
for a length, and the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

ID_BYTES = 4
LENGTH_BYTES = 2
MAX_TOKEN_TEXT_BYTES = 0xFFFF


class UnfitRun(ValueError):
    """Ids, lengths and text that do not belong together, or that cannot be packed."""


class TokenRun(msgspec.Struct, frozen=True, gc=False):
    """Tokens in order.

    Args:
        ids: int32, little-endian, one for each token.
        lengths: uint16, little-endian: how many bytes of `text` each token adds.
        text: UTF-8; its length is the sum of `lengths`.
    """

    ids: bytes
    lengths: bytes
    text: bytes

    @classmethod
    def of(
        cls,
        ids: Sequence[int] | NDArray[np.integer],
        lengths: Sequence[int] | NDArray[np.integer],
        text: bytes,
    ) -> TokenRun:
        """A run from numbers.

        Raises:
            UnfitRun: the lengths do not fit ids and text, or a number is out of range.
        """
        id_array = np.asarray(ids, dtype=np.int64)
        length_array = np.asarray(lengths, dtype=np.int64)
        if id_array.shape != length_array.shape or int(length_array.sum()) != len(text):
            raise UnfitRun(
                f"{id_array.size} ids, {length_array.size} lengths of {int(length_array.sum())} "
                f"bytes, {len(text)} bytes of text"
            )
        if id_array.size and not 0 <= int(id_array.min()) <= int(id_array.max()) <= 0x7FFFFFFF:
            raise UnfitRun("a token id is not an int32 from 0 on")
        if length_array.size and not (
            0 <= int(length_array.min()) <= int(length_array.max()) <= MAX_TOKEN_TEXT_BYTES
        ):
            raise UnfitRun(f"a token shows more than {MAX_TOKEN_TEXT_BYTES} bytes")
        return cls(
            id_array.astype("<i4").tobytes(), length_array.astype("<u2").tobytes(), bytes(text)
        )

    def __len__(self) -> int:
        return len(self.ids) // ID_BYTES

    @property
    def id_array(self) -> NDArray[np.int32]:
        """The ids, int32 [len]; shares memory, read-only."""
        return np.frombuffer(self.ids, dtype="<i4")

    @property
    def length_array(self) -> NDArray[np.uint16]:
        """The lengths in bytes, uint16 [len]; shares memory, read-only."""
        return np.frombuffer(self.lengths, dtype="<u2")

    def ends(self) -> NDArray[np.int64]:
        """Where each token's text ends, in bytes from the start of this run: int64 [len]."""
        return np.cumsum(self.length_array, dtype=np.int64)

    def text_bytes_of(self, tokens: int) -> int:
        """How many bytes of text the first `tokens` tokens show."""
        if not tokens:
            return 0
        if tokens * LENGTH_BYTES >= len(self.lengths):
            return len(self.text)  # a sum takes 3 us, and whole runs are asked most
        return int(self.length_array[:tokens].sum(dtype=np.int64))

    def cut(self, start: int, end: int) -> TokenRun:
        """Tokens [start, end) with their text; `0 <= start <= end <= len`."""
        if start == 0 and end == len(self):
            return self
        if start == end:
            return EMPTY
        first = self.text_bytes_of(start)
        last = len(self.text)
        if end < len(self):
            last = first + int(self.length_array[start:end].sum(dtype=np.int64))
        return TokenRun(
            self.ids[start * ID_BYTES : end * ID_BYTES],
            self.lengths[start * LENGTH_BYTES : end * LENGTH_BYTES],
            self.text[first:last],
        )

    def __add__(self, other: TokenRun) -> TokenRun:
        return join((self, other))


EMPTY = TokenRun(b"", b"", b"")


def join(runs: Iterable[TokenRun]) -> TokenRun:
    """All tokens of `runs`, in order."""
    parts = [run for run in runs if run.ids]
    if len(parts) == 1:
        return parts[0]
    return TokenRun(
        b"".join(run.ids for run in parts),
        b"".join(run.lengths for run in parts),
        b"".join(run.text for run in parts),
    )
