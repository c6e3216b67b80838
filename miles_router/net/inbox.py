"""What the server has for one call of the app: the pieces of a body, then the disconnect.

They pass a short queue, which holds the client back while the app takes nothing. The server puts
the end of an exchange into the same queue: pieces that nobody takes would block that, and the
exchange with it, for ever. So whatever the app leaves is taken here.

Invariant: after `drain_by`, every message is taken until the disconnect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.trio.task_group import TaskGroup

# What has come is there at once; this is for a busy loop.
LAST_PIECES_S = 0.1


class Inbox:
    """The messages for one call of the app."""

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self._is_body_taken = False
        self._draining: trio.CancelScope | None = None
        self._has_left = False
        self._waiting: trio.CancelScope | None = None

    def end(self) -> None:
        """The client has left: what has come of it is still given out, then the disconnect.

        The server's own word of it may be stuck behind the pieces of a body, or lost.
        """
        self._has_left = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        message = None
        if not self._has_left:
            with trio.CancelScope() as self._waiting:
                message = await self._receive()
            self._waiting = None
        if message is None:
            with trio.move_on_after(LAST_PIECES_S):
                message = await self._receive()
        if message is None:
            message = {"type": "http.disconnect"}
        is_last = message["type"] == "http.disconnect"
        self._is_body_taken = is_last or not message.get("more_body", False)
        if is_last and self._draining is not None:
            self._draining.cancel()
        return message

    def drain_by(self, task_group: TaskGroup) -> None:
        """Take what the app leaves, if it may leave anything; may be repeated."""
        if not self._is_body_taken and self._draining is None:
            self._draining = trio.CancelScope()
            task_group.spawn(self._drain, self._draining)

    async def _drain(self, scope: trio.CancelScope) -> None:
        with scope:
            while (await self.receive())["type"] != "http.disconnect":
                pass
