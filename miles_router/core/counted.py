"""Amounts with their nouns, as sentences for people need them: "1 request", "1,234 requests".

Knows nothing of what is counted.
"""

from __future__ import annotations


def noun(count: int, one: str, many: str = "") -> str:
    """`one`, or its plural where `count` is another number; `many` where that is not `one` + s."""
    return one if count == 1 else many or one + "s"


def counted(count: int, one: str, many: str = "") -> str:
    """`count` with its noun: "1 request", "1,234 requests"."""
    return f"{count:,} {noun(count, one, many)}"
