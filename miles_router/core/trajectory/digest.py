"""A digest of text that grows with it, to tell what was evicted from what was never there.

Two checksums of zlib side by side: both can be continued, so that a turn's digest costs its own
text only. A collision makes a look-up say "evicted" where "never seen" were true; nothing else
hangs on it.
"""

from __future__ import annotations

import zlib

EMPTY_DIGEST = 1  # crc32 of nothing is 0, adler32 of nothing is 1
_MASK = 0xFFFFFFFF


def extend_digest(digest: int, text: bytes) -> int:
    """The digest of what `digest` stands for, followed by `text`."""
    return zlib.crc32(text, digest >> 32) << 32 | zlib.adler32(text, digest & _MASK)


def digest_of(text: bytes) -> int:
    """The digest of a whole text."""
    return extend_digest(EMPTY_DIGEST, text)
