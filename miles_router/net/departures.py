"""Clients that left while nobody reads from them, found by asking the kernel.

A connection is not read while a pipelined request waits for the answer to the one before, or while
nobody takes more of an upload: its end then lies behind bytes that stay where they are. The kernel
knows of it all the same (POLLRDHUP), so one question a second about all such connections is enough.
This file must not know HTTP.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, NoReturn, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable

# A client that leaves is to reach its worker within two seconds, the abort included.
SWEEP_INTERVAL_S = 1.0
# Where the system has no word for a half-closed peer, the end of a whole connection is still told.
_LEFT = getattr(select, "POLLRDHUP", select.POLLHUP)


class HeldConnection(Protocol):
    """A client connection as seen from here."""

    @property
    def held_descriptor(self) -> int | None:
        """Its socket while bytes of it wait to be taken; None while it is read, or closed."""

    def end_hold(self) -> None:
        """Stop waiting for those bytes to be taken: the client has left."""


def sweep(connections: Iterable[HeldConnection]) -> None:
    """End the holds of clients that have closed their side, or lost their connection."""
    held = {
        descriptor: connection
        for connection in connections
        if (descriptor := connection.held_descriptor) is not None
    }
    if not held:
        return
    poll = select.poll()
    for descriptor in held:
        poll.register(descriptor, _LEFT)
    for descriptor, _ in poll.poll(0):
        held[descriptor].end_hold()


async def run(connections: Iterable[HeldConnection]) -> NoReturn:
    """Sweep for ever; `connections` is looked through anew each time."""
    while True:
        await trio.sleep(SWEEP_INTERVAL_S)
        sweep(connections)
