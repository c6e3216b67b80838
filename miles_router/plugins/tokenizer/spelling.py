"""Token ids to the text that a worker shows for them, with the share of each token.

Two ways with one result: by a table of bytes, for whole arrays at once; and by decoding short
windows one token after the other, for tokenizers that are known only by what they decode. The
first token is spelled as behind other text, because a worker decodes an answer behind its prompt:
a first `\u2581Paris` shows its space. This file must not know how tokenizers are loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from miles_router.core.radix.run import EMPTY, TokenRun, UnfitRun

from .utf8 import REPLACEMENT, find_broken, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .table import TokenTable

_ID, _UNSIGNED = np.dtype("<i4"), np.dtype("<u4")
_OPEN = "\ufffd"
# More tokens than one character has bytes: what is still U+FFFD behind so many stays so.
_MAX_HELD_TOKENS = 8
# Where text and tokens do not meet for so long, the window is cut at any place.
_MAX_WINDOW_TOKENS = 64


class Speller(Protocol):
    """Spells ids of one vocabulary."""

    quick_tokens: int
    """So many take about a millisecond."""

    def spell(self, ids: NDArray[np.int32], *, skip_special_tokens: bool) -> TokenRun:
        """As `core.tokenizing.Tokenizer.spell`."""


def checked(ids: NDArray[np.integer], vocab_size: int) -> NDArray[np.int32]:
    """`ids` as int32, all of them in the vocabulary.

    Raises:
        UnfitRun: one is not.
    """
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        raise _beyond(vocab_size)
    return ids.astype(_ID, copy=False)


def _beyond(vocab_size: int) -> UnfitRun:
    return UnfitRun(f"a token id is not in the vocabulary of {vocab_size}")


class TableSpeller:
    """Spells by a table: linear, no loop over tokens but to join their bytes.

    Args:
        table: what each token stands for.
        is_special: bool [vocab], tokens that are left out on demand.
    """

    quick_tokens = 8_192

    def __init__(self, table: TokenTable, is_special: NDArray[np.bool_]) -> None:
        self._literal = table
        self._skipping = table.without(is_special)

    def spell(self, ids: NDArray[np.int32], *, skip_special_tokens: bool) -> TokenRun:
        """As `core.tokenizing.Tokenizer.spell`."""
        table = self._skipping if skip_special_tokens else self._literal
        ids = np.asarray(ids)
        if ids.dtype != _ID:
            ids = checked(ids, table.data.size)
        # No id is below 0 here, and `take` itself finds those that are too high.
        places = ids.view(_UNSIGNED)
        try:
            text = b"".join(table.data.take(places).tolist())
        except IndexError:
            raise _beyond(table.data.size) from None
        if not table.may_overflow and (text.isascii() or table.is_whole.take(places).all()):
            return TokenRun(ids.tobytes(), table.packed.take(places).tobytes(), text)
        lengths = table.lengths.take(places)
        if not table.is_whole.take(places).all():
            if table.has_bytes:
                text, lengths = _settle_runs(text, lengths, table.is_byte.take(places))
            text, lengths = settle(text, lengths)
        if table.may_overflow:
            return TokenRun.of(ids, lengths, text)
        return TokenRun(ids.tobytes(), lengths.astype("<u2").tobytes(), text)


def _settle_runs(
    data: bytes, lengths: NDArray[np.int64], is_byte: NDArray[np.bool_]
) -> tuple[bytes, NDArray[np.int64]]:
    """Put U+FFFD for fallback bytes that are no text.

    A run of such bytes shows either its characters or U+FFFD for each byte, good ones included
    (`ByteFallback::decode_chain` of tokenizers). Tokens that show nothing do not part a run.
    """
    broken = find_broken(data)[1] if is_byte.any() else []
    if not broken:
        return data, lengths
    ends = np.cumsum(lengths)
    visible = np.flatnonzero(lengths)
    # A run begins at a byte behind something else; only fallback bytes can be broken.
    in_run = is_byte[visible]
    is_first = in_run.copy()
    is_first[1:] &= ~in_run[:-1]
    run_of = np.cumsum(is_first)
    place = np.searchsorted(ends[visible], [start for start, _ in broken], side="right")
    is_broken = np.zeros(int(run_of[-1]) + 1, dtype=np.bool_)
    is_broken[run_of[place]] = True
    lost = visible[in_run & is_broken[run_of]]
    lengths = lengths.copy()
    lengths[lost] = len(REPLACEMENT)
    is_gone = np.zeros(len(data), dtype=np.bool_)
    is_gone[ends[lost] - 1] = True
    copies = np.where(is_gone, len(REPLACEMENT), 1)
    text = np.frombuffer(data, dtype=np.uint8).repeat(copies)
    text[is_gone.repeat(copies)] = np.tile(np.frombuffer(REPLACEMENT, dtype=np.uint8), lost.size)
    return text.tobytes(), lengths


class WindowSpeller:
    """Spells with nothing but a `decode`, window by window.

    The windows are much as in vLLM and SGLang: what one more token adds to the text of the tokens
    before it is its share, but for U+FFFD at its end, which the next tokens may still complete.

    Args:
        decode: text of ids, special tokens as their literals.
        context: ids of ordinary text to stand before the first token.
        is_special: bool [vocab].
    """

    quick_tokens = 64

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        context: Sequence[int],
        is_special: NDArray[np.bool_],
    ) -> None:
        self._decode = decode
        self._context = list(context)
        self._is_special = is_special

    def spell(self, ids: NDArray[np.int32], *, skip_special_tokens: bool) -> TokenRun:
        """As `core.tokenizing.Tokenizer.spell`."""
        ids = checked(np.asarray(ids), self._is_special.size)
        if not ids.size:
            return EMPTY
        left_out = self._is_special[ids] & skip_special_tokens
        lengths = np.zeros(ids.size, dtype=np.int64)
        shown = np.flatnonzero(~left_out)
        pieces = self._pieces(ids[shown].tolist())
        lengths[shown] = [len(piece) for piece in pieces]
        return TokenRun.of(ids, lengths, b"".join(pieces))

    def _pieces(self, tokens: list[int]) -> list[bytes]:
        """What each token adds. The window begins two places back where text and tokens met."""
        window, met = list(self._context), len(self._context)
        before, stuck = self._decode(window), 0
        pieces: list[bytes] = []
        for place, token in enumerate(tokens):
            window.append(token)
            text = self._decode(window)
            is_met = len(text) > len(before) and not text.endswith(_OPEN)
            is_over = stuck >= _MAX_HELD_TOKENS or place + 1 == len(tokens)
            shown = text if is_met or is_over else text.rstrip(_OPEN)
            stuck = 0 if len(shown) > len(before) else stuck + 1
            pieces.append(shown[len(before) :].encode(errors="replace"))
            if is_met:
                window, met = window[met:], len(window) - met
                before = self._decode(window)
            elif len(window) <= _MAX_WINDOW_TOKENS:
                before = max(before, shown, key=len)
            else:
                held = len(text) - max(len(before), len(shown))
                window, met = window[-_MAX_WINDOW_TOKENS // 4 :], 0
                text = self._decode(window)
                before = text[: len(text) - held]
        return pieces
