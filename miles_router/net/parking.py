"""Where the task of a client's connection sleeps while the express serves the connection.

The socket is watched meanwhile, and what happens to it goes to the express. The task is woken for
what the express does not serve: bytes that it left in `lane.data`, a request that it has begun, or
the end. This file must not know HTTP.

Invariant: what was begun ends: in the express, with the task that was woken for it, or in `drop`,
if the task is cancelled.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import trio

from miles_router.net.readiness import LEFT

if TYPE_CHECKING:
    from miles_router.net.begun import Begun
    from miles_router.net.express import Express
    from miles_router.net.lane import Lane
    from miles_router.net.readiness import Readiness

_INPUT = getattr(select, "EPOLLIN", 0)
_ROOM = getattr(select, "EPOLLOUT", 0)


class Parking:
    """The place of one connection."""

    __slots__ = ("_express", "_has_input", "_is_short", "_lane", "_readiness", "_task", "begun")

    def __init__(self, lane: Lane, express: Express, readiness: Readiness) -> None:
        self._lane = lane
        self._express = express
        self._readiness = readiness
        self._task: trio.lowlevel.Task | None = None
        self._has_input = False  # bytes came behind the request that is under way
        self._is_short = False  # a part of a request has come
        self.begun: Begun | None = None  # what is under way

    async def sleep(self) -> Begun | None:
        """Sleep until the task is needed; what it is to take up, if anything.

        Cancellation: what was begun is dropped.
        """
        lane = self._lane
        self._task = trio.lowlevel.current_task()
        self._readiness.add(lane.descriptor, lane)  # tells at once of what is there already
        try:
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
        except trio.Cancelled:
            if self.begun is not None:
                self.begun.drop()
            raise
        finally:
            begun = self.take_begun()
            self._is_short = False
            if lane.stream.socket.fileno() >= 0:
                self._readiness.add(lane.descriptor, lane, only_left=True)
        return begun

    def take_begun(self) -> Begun | None:
        """What is under way, which is the caller's from here on."""
        begun, self.begun = self.begun, None
        return begun

    def _give_up(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def wake(self) -> None:
        """End the sleep; nothing happens to a task that is awake."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def on_ready(self, events: int) -> None:
        """Something happened to the socket."""
        if self._task is None:
            if events & LEFT:
                self._lane.note_hangup()
        elif self.begun is None:
            self._lane.has_hung_up = bool(events & LEFT)
            self._express.serve(self._lane)
        elif events & LEFT:
            self._lane.note_hangup()
        else:
            self._has_input = self._has_input or bool(events & _INPUT)
            if events & _ROOM:
                self.begun.write_on()

    def wait_for_rest(self) -> bool:
        """Let a request whose body has not come whole wait for more, once."""
        if self._is_short:
            return False
        self._is_short = True
        return True

    def begin(self, begun: Begun) -> None:
        """A request is under way."""
        self._is_short = False
        self.begun = begun

    def end(self, *, is_last: bool) -> None:
        """It is over: serve the next, or have the connection ended."""
        self.begun = None
        if is_last:
            self.wake()
        elif self._has_input:
            self._has_input = False
            self._express.serve(self._lane)
