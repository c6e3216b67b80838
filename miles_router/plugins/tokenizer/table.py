"""The bytes that each token of a vocabulary stands for, as the decoder of `tokenizers` has it.

Two families of decoders work token by token and are put into a table: byte-level BPE, and
SentencePiece's marks for spaces with bytes as a fallback. What decodes otherwise gets no table.
Whether a table is right is not decided here: the caller compares it with the real decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from miles_router.core.radix.run import MAX_TOKEN_TEXT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

SPACE_MARK = "\u2581"
_BYTE_LEVEL = frozenset({"ByteLevel", "Fuse"})
_SENTENCE_PIECE = frozenset({"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"})


@dataclass(frozen=True, slots=True)
class TokenTable:
    """What each token stands for.

    Args:
        data: object [vocab], the bytes of each token; empty where an id has no token. (Taking 256
            of an array and joining them is 6 us, of a tuple 18 us.)
        lengths: int64 [vocab], their lengths.
        packed: uint16 [vocab], the same, as a TokenRun holds them; worth nothing if `may_overflow`.
        is_whole: bool [vocab], they are whole characters.
        is_byte: bool [vocab], a byte of SentencePiece's fallback. Neighbouring ones are decoded
            together: all of them show their characters, or each one shows U+FFFD.
        has_bytes: there is one of those.
        may_overflow: some token has more bytes than a TokenRun can hold for one.
    """

    data: NDArray[np.object_]
    lengths: NDArray[np.int64]
    packed: NDArray[np.uint16]
    is_whole: NDArray[np.bool_]
    is_byte: NDArray[np.bool_]
    has_bytes: bool
    may_overflow: bool

    def without(self, left_out: NDArray[np.bool_]) -> TokenTable:
        """The same table, with tokens that stand for nothing where `left_out` (bool [vocab])."""
        data = self.data.copy()
        data[left_out] = b""
        return _table(data.tolist(), self.is_byte & ~left_out)


def token_table(
    decoder: Mapping[str, Any] | None, tokens: Mapping[int, str], vocab_size: int
) -> TokenTable | None:
    """The table of a vocabulary, or None where the decoder is of no known family.

    Args:
        decoder: the "decoder" of a tokenizer.json.
        tokens: the name of each token in the vocabulary, added ones included, by id.
        vocab_size: ids are below this number.
    """
    steps = list(_steps(decoder))
    kinds = {step.get("type") for step in steps}
    names = [tokens.get(token) for token in range(vocab_size)]
    is_byte = np.zeros(vocab_size, dtype=np.bool_)
    if "ByteLevel" in kinds and kinds <= _BYTE_LEVEL:
        byte_of = byte_of_character()
        return _table([_from_alphabet(name, byte_of) for name in names], is_byte)
    if not kinds or not kinds <= _SENTENCE_PIECE:
        return None
    mark = next((s["replacement"] for s in steps if s.get("type") == "Metaspace"), SPACE_MARK)
    pieces = [(name or "").replace(mark, " ").encode() for name in names]
    if "ByteFallback" in kinds:
        for token, name in enumerate(names):
            value = _fallback_byte(name)
            if value is not None:
                pieces[token] = bytes([value])
                is_byte[token] = True
    return _table(pieces, is_byte)


def byte_of_character() -> dict[str, int]:
    """The byte-level alphabet: printable Latin-1 stands for itself, other bytes from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = sorted(set(range(256)) - set(printable))
    table.update({chr(0x100 + place): byte for place, byte in enumerate(others)})
    return table


def _table(pieces: list[bytes], is_byte: NDArray[np.bool_]) -> TokenTable:
    data = np.empty(len(pieces), dtype=np.object_)
    data[:] = pieces
    lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    is_whole = np.fromiter(map(_is_text, pieces), dtype=np.bool_, count=len(pieces))
    # Settling gives a token at most what others began of its first and its last character.
    room = MAX_TOKEN_TEXT_BYTES - 8
    return TokenTable(
        data=data,
        lengths=lengths,
        packed=lengths.astype("<u2"),
        is_whole=is_whole,
        is_byte=is_byte,
        has_bytes=bool(is_byte.any()),
        may_overflow=bool((lengths > room).any()),
    )


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _from_alphabet(name: str | None, byte_of: Mapping[str, int]) -> bytes:
    """The bytes of a byte-level token; a name outside the alphabet stands for itself."""
    if name is None:
        return b""
    try:
        return bytes([byte_of[character] for character in name])
    except KeyError:
        return name.encode()


def _fallback_byte(name: str | None) -> int | None:
    """The byte of a token such as `<0x0A>`."""
    if name is None or len(name) != 6 or not name.startswith("<0x") or name[-1] != ">":
        return None
    try:
        return int(name[3:5], 16)
    except ValueError:
        return None


def _steps(decoder: Mapping[str, Any] | None) -> Iterable[Mapping[str, Any]]:
    """The steps of a decoder, sequences unrolled."""
    if decoder is None:
        return
    if decoder.get("type") == "Sequence":
        for step in decoder["decoders"]:
            yield from _steps(step)
    else:
        yield decoder
