"""What the token cache needs of a tokenizer, as a protocol.

The core knows no library; `plugins.tokenizer` adapts real ones. Calls are synchronous and may take
milliseconds for long texts: the caller decides where they run. They must be safe to call from
several threads at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from miles_router.core.radix.run import TokenRun


class Tokenizer(Protocol):
    """Text to tokens as a worker does it, and tokens to the text that a worker shows."""

    @property
    def name(self) -> str:
        """Path or hub name it was loaded from."""

    @property
    def fingerprint(self) -> str:
        """Hex digest that differs wherever a text could get other ids."""

    @property
    def vocab_size(self) -> int:
        """Ids are below this number, added tokens included."""

    @property
    def quick_tokens(self) -> int:
        """So many tokens are spelled in about a millisecond."""

    def encode(self, text: str, *, is_continuation: bool) -> TokenRun:
        """Tokens of a prompt, or of the part of a prompt that follows known tokens.

        A whole prompt gets the special tokens that a worker would add (BOS shows no text); a
        continuation gets none, and no marker for a leading space that is not there.
        `result.text` is `text` in UTF-8. Literals of special tokens in `text` become those tokens.
        """

    def spell(self, ids: NDArray[np.int32], *, skip_special_tokens: bool) -> TokenRun:
        """Tokens of an answer with the text that a worker shows for them.

        Special tokens show nothing where `skip_special_tokens`, else their literal. Ids that are
        no text show U+FFFD, as in `bytes.decode(errors="replace")` of all bytes together. Linear
        in the number of tokens. An id outside the vocabulary raises UnfitRun.
        """
