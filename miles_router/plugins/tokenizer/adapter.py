"""A tokenizer of a model behind the protocol that the token cache works with.

Puts together an encoder, a speller and the lengths that fit both; `adapting` chooses them. This
file must not know where a tokenizer comes from, nor its library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from miles_router.core.alignment import lump
from miles_router.core.radix.run import TokenRun, UnfitRun

from .fitting import offset_lengths, spelled_lengths, utf8

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .encoding import Encoder
    from .spelling import Speller


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a tokenizer.

    Args:
        size: ids are below this number.
        names: the name of each token in the vocabulary, by id.
        is_special: bool [size], left out of text on demand.
    """

    size: int
    names: dict[int, str]
    is_special: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Around:
    """The special tokens that a whole prompt gets, such as BOS: ids before and behind its own."""

    before: tuple[int, ...]
    behind: tuple[int, ...]


class HuggingFaceTokenizer:
    """Implements `core.tokenizing.Tokenizer`. Holds no state: any thread may call it."""

    def __init__(
        self,
        name: str,
        fingerprint: str,
        vocab_size: int,
        encoder: Encoder,
        speller: Speller,
        around: Around,
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.vocab_size = vocab_size
        self._encoder = encoder
        self._speller = speller
        self._around = around

    @property
    def quick_tokens(self) -> int:
        """As `core.tokenizing.Tokenizer.quick_tokens`."""
        return self._speller.quick_tokens

    def encode(self, text: str, *, is_continuation: bool) -> TokenRun:
        """As `core.tokenizing.Tokenizer.encode`.

        Raises:
            UnfitRun: the text is not Unicode, has no token that could stand for it, or one token
                would have to stand for more than 65,535 bytes.
        """
        data = utf8(text)
        ids: NDArray[np.int32] = np.array(
            self._encoder.ids(text, is_continuation=is_continuation), dtype="<i4"
        )
        lengths = self._lengths(ids, text, data, is_continuation=is_continuation)
        around = self._around
        if not is_continuation and (around.before or around.behind):
            ids = np.concatenate((around.before, ids, around.behind), dtype="<i4", casting="unsafe")
            lengths = np.concatenate(
                (np.zeros(len(around.before), np.int64), lengths, np.zeros(len(around.behind), int))
            )
        if data and not lengths.any():
            if not ids.size:
                raise UnfitRun("the tokenizer gives no token for the text")
            lengths[-1] = len(data)
        return TokenRun.of(ids, lengths, data)

    def _lengths(
        self, ids: NDArray[np.int32], text: str, data: bytes, *, is_continuation: bool
    ) -> NDArray[np.int64]:
        if not ids.size:
            return np.zeros(0, dtype=np.int64)
        spelled = self._speller.spell(ids, skip_special_tokens=False)
        lengths = spelled_lengths(spelled, data)
        if lengths is not None:
            return lengths
        offsets = self._encoder.offsets(text, is_continuation=is_continuation)
        if offsets is not None and len(offsets) == ids.size:
            return offset_lengths(offsets, data)
        return lump(spelled, data).length_array.astype(np.int64)

    def spell(self, ids: NDArray[np.int32], *, skip_special_tokens: bool) -> TokenRun:
        """As `core.tokenizing.Tokenizer.spell`.

        Raises:
            UnfitRun: an id is not in the vocabulary, or a token shows more than 65,535 bytes.
        """
        return self._speller.spell(ids, skip_special_tokens=skip_special_tokens)
