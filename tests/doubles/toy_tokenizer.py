"""A tokenizer small enough to think with: bytes, a few merges, special tokens.

It implements `core.tokenizing.Tokenizer` in the plainest way, for tests that need ids with all the
troubles of real ones: several spellings of one text, a character split over tokens, bytes that are
no text, a stop token that a text may or may not show.

    ids 0..255    the bytes themselves, so that 97 is "a" and 0xC3, 0xA9 together are "é"
    MERGES        "ab", "abc", "cd", ... on the ids from 256 on
    EOS, BOS      special; their literals "<e>" and "<s>" in a text become these tokens
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from miles_router.core.radix.run import TokenRun, UnfitRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

MERGES = ("ab", "abc", "cd", "bc", " a", "é", "€")
FIRST_MERGE = 256
EOS = FIRST_MERGE + len(MERGES)
BOS = EOS + 1
VOCAB_SIZE = BOS + 1
SPECIAL = {EOS: b"<e>", BOS: b"<s>"}

_PIECES = [bytes([byte]) for byte in range(256)] + [merge.encode() for merge in MERGES]
_LITERALS = [*_PIECES, *SPECIAL.values()]
_ID_OF = {piece: token for token, piece in enumerate(_LITERALS)}
_LONGEST = max(map(len, _LITERALS))

# What a hypothesis strategy may draw from: letters, every merge, halves of characters (é is C3 A9,
# € is E2 82 AC), a byte that no text has, and EOS.
DRAWN_IDS = (*b"abcd ", *range(FIRST_MERGE, EOS), 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xFF, EOS)


class ToyTokenizer:
    """Greedy: at each place the longest token of the text.

    Args:
        adds_bos: a whole prompt begins with BOS.
        name: as a path or hub name would be; tokenizers of two names have two fingerprints.
    """

    def __init__(self, *, adds_bos: bool = False, name: str = "toy") -> None:
        self.name = name
        self.fingerprint = f"{name}{'+bos' if adds_bos else ''}".encode().hex()
        self.vocab_size = VOCAB_SIZE
        self._adds_bos = adds_bos

    quick_tokens = 1_000
    """As `core.tokenizing.Tokenizer.quick_tokens`."""

    def encode(self, text: str, *, is_continuation: bool) -> TokenRun:
        """As `core.tokenizing.Tokenizer.encode`."""
        data = text.encode()
        ids = list(greedy(data))
        lengths = _owned([_LITERALS[token] for token in ids])[1]
        if self._adds_bos and not is_continuation:
            ids, lengths = [BOS, *ids], [0, *lengths]
        return TokenRun.of(np.array(ids, dtype=np.int32), lengths, data)

    def spell(
        self, ids: NDArray[np.int32] | Sequence[int], *, skip_special_tokens: bool
    ) -> TokenRun:
        """As `core.tokenizing.Tokenizer.spell`."""
        tokens = [int(token) for token in ids]
        if not all(0 <= token < VOCAB_SIZE for token in tokens):
            raise UnfitRun(f"a token id is not in the vocabulary of {VOCAB_SIZE}")
        shown = [
            b"" if skip_special_tokens and token in SPECIAL else _LITERALS[token]
            for token in tokens
        ]
        text, lengths = _owned(shown)
        return TokenRun.of(np.array(tokens, dtype=np.int32), lengths, text)


def greedy(data: bytes) -> Iterator[int]:
    """The ids that `encode` gives to some bytes, special tokens' literals included."""
    place = 0
    while place < len(data):
        for size in range(_LONGEST, 0, -1):
            token = _ID_OF.get(data[place : place + size])
            if token is not None:
                yield token
                break
        place += size


def spellings(text: str) -> Iterator[list[int]]:
    """Every id sequence without special tokens whose text is `text`: exponentially many."""
    yield from _spellings(text.encode())


def _spellings(data: bytes) -> Iterator[list[int]]:
    if not data:
        yield []
    for size in range(1, min(_LONGEST, len(data)) + 1):
        token = _ID_OF.get(data[:size])
        if token is not None and token not in SPECIAL:
            for rest in _spellings(data[size:]):
                yield [token, *rest]


def characters(data: bytes) -> Iterator[tuple[int, bytes]]:
    """What some bytes show, character by character: where each ends, and the character.

    U+FFFD stands for each range that `bytes.decode(errors="replace")` replaces.
    """
    place = 0
    while place < len(data):
        try:
            shown = data[place : place + 4].decode()[0]
            used = len(shown.encode())
        except UnicodeDecodeError as error:
            # The first character is good if what is not UTF-8 comes later.
            shown = data[place : place + error.start].decode()[:1] or "\ufffd"
            used = len(shown.encode()) if error.start else error.end
        place += used
        yield place, shown.encode()


def _owned(pieces: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """The text of joined pieces, and how much of it each shows: characters that end in it."""
    lengths = [0] * len(pieces)
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    text = b""
    for end, shown in characters(b"".join(pieces)):
        lengths[int(np.searchsorted(ends, end))] += len(shown)
        text += shown
    return text, lengths
