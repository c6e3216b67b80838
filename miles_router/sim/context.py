"""A running fingerprint of a token sequence, and the simulated prefix cache built on it.

The fingerprint of a sequence depends on all its tokens and on their order, so whatever is drawn
from it behaves as a language model's choice does: the same tokens before give the same
distribution after.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EMPTY = 1
BLOCK_TOKENS = 16

# A polynomial over a Mersenne prime: one multiplication per token in plain Python.
_PRIME = 2**61 - 1
_FACTOR = 1_099_511_628_211 * 7


def extend(context: int, token: int) -> int:
    """The fingerprint after one more token."""
    return (context * _FACTOR + token + 1) % _PRIME


def fingerprints(tokens: Iterable[int], context: int = EMPTY) -> list[int]:
    """The fingerprint before each token, and after the last one: one more entry than tokens."""
    found = [context]
    for token in tokens:
        context = (context * _FACTOR + token + 1) % _PRIME
        found.append(context)
    return found


def block_ends(contexts: Sequence[int]) -> list[int]:
    """Of `fingerprints`' result, the entries after each whole block."""
    return list(contexts[BLOCK_TOKENS::BLOCK_TOKENS])


class PrefixCache:
    """Which blocks of tokens a worker has seen, oldest forgotten first.

    Only feeds `cached_tokens`; the answers never depend on it.
    """

    def __init__(self, limit_blocks: int = 65_536) -> None:
        self._blocks: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._limit_blocks = limit_blocks

    def match(self, key: str, blocks: Sequence[int], *, limit_tokens: int) -> int:
        """Tokens of the longest known prefix, whole blocks only, at most `limit_tokens`."""
        known = 0
        for block in blocks:
            if (key, block) not in self._blocks or known + BLOCK_TOKENS > limit_tokens:
                break
            known += BLOCK_TOKENS
        return known

    def add(self, key: str, blocks: Iterable[int]) -> None:
        """Remember `blocks` under `key` (SGLang's extra_key keeps prefixes apart)."""
        for block in blocks:
            self._blocks[(key, block)] = None
            self._blocks.move_to_end((key, block))
        while len(self._blocks) > self._limit_blocks:
            self._blocks.popitem(last=False)

    def clear(self) -> None:
        """Forget everything, as /flush_cache does."""
        self._blocks.clear()

    @property
    def size_tokens(self) -> int:
        """Tokens the remembered blocks stand for."""
        return len(self._blocks) * BLOCK_TOKENS
