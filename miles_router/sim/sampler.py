"""The simulated model: which token comes next, and how likely it was.

A function of (weight version, seed, all tokens before): no state, no randomness of its own, so
any answer can be computed again from the log. The log-probability of a token that was generated
depends on (weight version, tokens before, token) only, so a prompt scored again gets the values its
tokens were generated with at temperature 1. All other tokens share what that one leaves, so that
probabilities never add up to more than 1. Greedy choices do not depend on the seed.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.sim.tokenizer import Tokenizer

EOS_SHARE = 1 / 64
"""Chance of the end-of-turn token at each position; answers are 64 tokens long on average."""

_GREEDY_SEED = 0x67726565
_UNIT = 2.0**-32
_MASK = 2**64 - 1
_LOGPROB_STEP = 2.0**-22
"""Log-probabilities are multiples of this down to -4: all of them are exact in float32."""
_LEAST_SHARE = 2.0**-149
"""The smallest float32: what a token leaves that is as good as certain."""


@functools.lru_cache(maxsize=64)
def version_key(weight_version: str) -> bytes:
    """The weights, as a hash key of fixed size."""
    return hashlib.blake2b(weight_version.encode(), digest_size=16).digest()


def to_float32(value: float) -> float:
    """The nearest float32, as a Python float: what a GPU worker's JSON carries."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


class Sampler:
    """Draws tokens of one vocabulary.

    Args:
        tokenizer: gives the vocabulary.
        drift: share of tokens drawn from the whole vocabulary; the rest are whole words.
    """

    def __init__(self, tokenizer: Tokenizer, *, drift: float) -> None:
        self._words = tokenizer.word_ids
        self._ordinary = tokenizer.ordinary_ids
        self._eos_id = tokenizer.eos_id
        self._drift = drift
        self._log_vocab_size = math.log(tokenizer.vocab_size)

    def draw(self, weight_version: str, seed: int | None, context: int, *, may_end: bool) -> int:
        """The next token.

        Args:
            weight_version: weights that make the choice.
            seed: of this generation; None is the greedy choice.
            context: fingerprint of all tokens before.
            may_end: whether the end-of-turn token may be drawn.
        """
        number = _GREEDY_SEED if seed is None else seed & _MASK
        digest = hashlib.blake2b(
            struct.pack("<QQ", number, context), digest_size=16, key=version_key(weight_version)
        ).digest()
        end, whole, place = struct.unpack("<IIQ", digest)
        if may_end and end * _UNIT < EOS_SHARE:
            return self._eos_id
        pool = self._ordinary if whole * _UNIT < self._drift else self._words
        return pool[int(place) % len(pool)]

    def logprob(
        self, weight_version: str, context: int, token: int, temperature: float = 1.0
    ) -> float:
        """Log-probability of `token`, which follows `context`: from -4 / temperature to 0.

        Of a temperature of 1 it is exact in float32, of others the nearest float32.
        """
        value = self._score(weight_version, context, token)
        return value if temperature == 1.0 else to_float32(value / temperature)

    def logprobs(
        self,
        weight_version: str,
        context: int,
        tokens: Iterable[int],
        *,
        following: int,
        temperature: float = 1.0,
    ) -> list[tuple[float, int]]:
        """(log-probability, token) of each of `tokens`, where `following` is what follows.

        A share of at most 1 / vocabulary of what `following` leaves falls to each other token.
        """
        own = self.logprob(weight_version, context, following, temperature)
        left = math.log(max(-math.expm1(own), _LEAST_SHARE)) - self._log_vocab_size
        return [
            (
                own
                if token == following
                else to_float32(left + self._score(weight_version, context, token) / temperature),
                token,
            )
            for token in tokens
        ]

    def _score(self, weight_version: str, context: int, token: int) -> float:
        digest = hashlib.blake2b(
            struct.pack("<QQ", token & _MASK, context),
            digest_size=4,
            key=version_key(weight_version),
        ).digest()
        step = (int.from_bytes(digest, "little") >> 8) + 1
        return -step * _LOGPROB_STEP

    def top(
        self,
        weight_version: str,
        context: int,
        count: int,
        *,
        following: int,
        temperature: float = 1.0,
    ) -> list[tuple[float, int]]:
        """`following` and others: `count` (log-probability, token) pairs, most likely first."""
        draws = (
            self.draw(weight_version, attempt or None, context, may_end=False)
            for attempt in range(2 * count)
        )
        found: dict[int, None] = {}
        for token in itertools.chain((following,), draws, self._ordinary):
            if len(found) >= count:
                break
            found[token] = None
        pairs = self.logprobs(
            weight_version, context, found, following=following, temperature=temperature
        )
        return sorted(pairs, reverse=True)
