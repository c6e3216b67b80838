"""Idle connections per worker, newest first.

Taking and giving back are O(1). A connection that the worker has closed, or that has stood too
long, is never handed out; one that dies in the moment of reuse is the exchange's business.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from miles_router.core.worker import Worker
    from miles_router.net.upstream import Connection

# uvicorn, which serves SGLang, closes after 5 s of silence: reuse must stay clear of that moment.
MAX_IDLE_S = 4.0
# Enough for a burst; each idle connection costs both sides a descriptor.
MAX_IDLE_PER_WORKER = 512


class IdleConnections:
    """Open connections that wait for the next request. Made inside the loop."""

    def __init__(self) -> None:
        self._idle: dict[str, deque[Connection]] = {}
        # What `trio.current_time` asks, three calls nearer.
        self._now = trio.lowlevel.current_clock().current_time

    def __len__(self) -> int:
        return sum(len(connections) for connections in self._idle.values())

    def take(self, worker: Worker) -> Connection | None:
        """The connection that was used last and can still be used; None if there is none."""
        connections = self._idle.get(worker.id)
        now = self._now()
        while connections:
            connection = connections.pop()
            # Readable while nothing is asked: the worker closed it or sent something uncalled-for.
            if now - connection.idle_since < MAX_IDLE_S and not connection.is_readable:
                connection.is_reused = True
                return connection
            connection.close()
        return None

    def give(self, connection: Connection) -> None:
        """Keep `connection` for the next request, or close it if it cannot serve one."""
        if not connection.is_reusable:
            connection.close()
            return
        connection.idle_since = self._now()
        connections = self._idle.setdefault(connection.worker.id, deque())
        connections.append(connection)
        if len(connections) > MAX_IDLE_PER_WORKER:
            connections.popleft().close()

    def sweep(self) -> None:
        """Close what stood too long, and everything of workers without connections."""
        now = self._now()
        for worker_id, connections in list(self._idle.items()):
            while connections and now - connections[0].idle_since >= MAX_IDLE_S:
                connections.popleft().close()
            if not connections:
                del self._idle[worker_id]

    def close_all(self) -> None:
        """Close every idle connection."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()
