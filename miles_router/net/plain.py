"""Which requests are plain enough for the fast lane, and how their targets are read.

What is judged here is only whether Hypercorn and the lane would read the same: in doubt, it is
Hypercorn's. This file must not know sockets.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from miles_router.core.request import PathClass, classify, matched_path

if TYPE_CHECKING:
    from miles_router.net.request_head import RequestHead

# Larger bodies are streamed, which takes tasks and queues: Hypercorn has them.
MOST_BODY_BYTES = 4 * 1024 * 1024
# What h11 takes for a target. Longer ones are rare, and not worth remembering.
_TARGET = re.compile(rb"/[\x21-\x7e]{0,255}")
# No control character may stand in a head, nor a byte that is no ASCII. llhttp leaves spaces behind
# a value where they are, h11 does not.
_FINE = bytes(range(0x20, 0x7F)) + b"\r\n"
_METHODS = frozenset({b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"})


class Target(NamedTuple):
    """A request target, taken apart."""

    path: str  # decoded
    raw_path: bytes
    query: bytes
    is_data: bool  # neither a route of the router nor control


@lru_cache(maxsize=1024)
def read_target(target: bytes) -> Target | None:
    """What ASGI makes of `target`; None if it takes a closer look."""
    if not _TARGET.fullmatch(target):
        return None
    raw_path, _, query = target.partition(b"?")
    path_class = classify(matched_path(raw_path.decode("ascii")))
    is_data = path_class not in {PathClass.OWN, PathClass.CONTROL}
    return Target(unquote(raw_path.decode("ascii")), raw_path, query, is_data)


def plain_target(head: RequestHead, raw: bytes) -> Target | None:
    """The target of a request that the lane may serve; None if it may not.

    Args:
        head: as it was read.
        raw: its bytes.
    """
    if not head.is_plain or head.body_bytes > MOST_BODY_BYTES or head.method not in _METHODS:
        return None
    if raw.translate(None, _FINE) or b" \r\n" in raw:
        return None
    target = read_target(head.target)
    return target if target is not None and target.is_data else None
