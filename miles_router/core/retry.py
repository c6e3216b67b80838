"""Whether a failed attempt may be repeated on another worker.

Nothing the router does may make one generation two results, and nothing may be lost that can be
saved. So an attempt is repeated only

- where nothing can have reached the worker (it could not be connected to), or
- where the connection died before the first answer byte, and the request is a generation or a read
  (GET, HEAD): those leave nothing behind, and the abandoned one is aborted by its rid;

never after the first answer byte, never on a timeout (the worker may still be at it), never twice
on one worker, never without the body (what was streamed to one worker is gone).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from miles_router.errors import WorkerTimeout

if TYPE_CHECKING:
    from miles_router.errors import WorkerFault


@dataclass(frozen=True, slots=True)
class Repeatable:
    """What about a request decides whether it may be repeated."""

    method: str
    is_generation: bool
    has_whole_body: bool


def may_retry(
    request: Repeatable, fault: WorkerFault, *, tries: int, retries: int, others: bool
) -> bool:
    """Whether to try another worker after `tries` attempts.

    `others`: some worker that was not tried serves requests. A fault always comes before the first
    answer byte was relayed: after that there is nothing to ask.
    """
    if tries > retries or not others or isinstance(fault, WorkerTimeout):
        return False
    if not fault.sent:
        return True
    if not request.has_whole_body:
        return False
    return request.is_generation or request.method in {"GET", "HEAD"}
