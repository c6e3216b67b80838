from __future__ import annotations

from miles_router.sim.context import BLOCK_TOKENS, PrefixCache, block_ends, extend, fingerprints


def test_a_fingerprint_can_be_extended_token_by_token() -> None:
    tokens = [5, 3, 3, 999]
    contexts = fingerprints(tokens)
    assert len(contexts) == 5
    assert extend(contexts[-2], 999) == contexts[-1]
    assert fingerprints([999], contexts[-2]) == contexts[-2:]


def test_order_and_length_count() -> None:
    ends = {fingerprints(tokens)[-1] for tokens in ([], [0], [0, 0], [1, 2], [2, 1])}
    assert len(ends) == 5


def test_the_cache_finds_whole_known_blocks_only() -> None:
    cache = PrefixCache()
    tokens = list(range(3 * BLOCK_TOKENS))
    blocks = block_ends(fingerprints(tokens))
    other = block_ends(fingerprints([*tokens[: 2 * BLOCK_TOKENS], *([7] * BLOCK_TOKENS)]))
    assert len(blocks) == 3
    cache.add("", blocks)
    assert cache.match("", blocks, limit_tokens=1000) == 3 * BLOCK_TOKENS
    assert cache.match("", other, limit_tokens=1000) == 2 * BLOCK_TOKENS
    assert cache.match("", blocks, limit_tokens=2 * BLOCK_TOKENS + 1) == 2 * BLOCK_TOKENS
    assert cache.match("salt", blocks, limit_tokens=1000) == 0
    cache.clear()
    assert cache.match("", blocks, limit_tokens=1000) == 0


def test_the_oldest_blocks_go_first() -> None:
    cache = PrefixCache(limit_blocks=2)
    cache.add("", [1, 2])
    cache.add("", [3])
    assert cache.match("", [1], limit_tokens=100) == 0
    assert cache.match("", [3], limit_tokens=100) == BLOCK_TOKENS
    assert cache.size_tokens == 2 * BLOCK_TOKENS
