"""Text to tokens and back for the token cache: at once where that is quick, else in a thread.

Many small texts are as long about it as a large one, so it is their sum that decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from miles_router.core.radix.run import TokenRun
    from miles_router.net.token_cache import TokenCache

# A kilobyte of text takes about as long to tokenize as a thread takes to start (0.2 ms).
IN_THREAD_CHARACTERS = 1024


async def tokenize(cache: TokenCache, parts: Sequence[tuple[str, bool]]) -> list[TokenRun]:
    """Tokens of each part of a prompt: (text, whether it continues known tokens).

    Raises:
        UnfitRun: a text cannot be tokenized.
    """
    encode = cache.tokenizer.encode

    def work() -> list[TokenRun]:
        return [encode(text, is_continuation=continues) for text, continues in parts]

    return work() if is_quick(parts) else await cache.in_thread(work)


def is_quick(parts: Sequence[tuple[str, bool]]) -> bool:
    """Whether `parts` are tokenized at once."""
    return sum(len(text) for text, _ in parts) <= IN_THREAD_CHARACTERS


async def spell_literally(cache: TokenCache, lists: Sequence[NDArray[np.int32]]) -> list[TokenRun]:
    """Each list of ids with the text that a worker shows for it, special tokens as literals.

    Raises:
        UnfitRun: an id is not in the vocabulary.
    """
    spell = cache.tokenizer.spell

    def work() -> list[TokenRun]:
        return [spell(ids, skip_special_tokens=False) for ids in lists]

    is_quick = sum(map(len, lists)) <= cache.tokenizer.quick_tokens
    return work() if is_quick else await cache.in_thread(work)
