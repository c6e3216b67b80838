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


class Inbox:
    """The messages for one call of the app."""

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self._is_body_taken = False
        self._draining: trio.CancelScope | None = None

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = await self._receive()
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
