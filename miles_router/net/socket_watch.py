"""A socket that is watched now and then: it stays in the kernel's set meanwhile.

So a connection to a worker costs no call to the kernel each time an answer is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miles_router.net.readiness import Readiness, Watched


class SocketWatch:
    """The watch over one socket. What happens while nobody is told is not told later."""

    __slots__ = ("_readiness", "_watched", "descriptor")

    def __init__(self, descriptor: int) -> None:
        """`descriptor`: of the socket."""
        self.descriptor = descriptor  # -1 once it was closed here
        self._watched: Watched | None = None
        self._readiness: Readiness | None = None  # where it stands, if anywhere

    def tell(self, watched: Watched, readiness: Readiness) -> None:
        """From now on tell `watched` what happens: no task must wait for the socket then."""
        self._watched = watched
        if self._readiness is None:
            self._readiness = readiness
            readiness.add(self.descriptor, self)

    def tell_again(self) -> None:
        """Have the state of the socket told as if it were new."""
        if self._readiness is not None:
            self._readiness.add(self.descriptor, self)

    def pause(self) -> None:
        """Tell nobody until the next `tell`."""
        self._watched = None

    def leave(self) -> None:
        """A task waits for the socket from here on, in its own way."""
        self._watched = None
        if self._readiness is not None:
            self._readiness.remove(self.descriptor, self)
            self._readiness = None

    def close(self) -> None:
        """The socket is about to be closed."""
        if self._readiness is not None:
            self._readiness.discard(self.descriptor, self)
        self._watched = self._readiness = None
        self.descriptor = -1

    def on_ready(self, events: int) -> None:
        """See `readiness`."""
        if self._watched is not None:
            self._watched.on_ready(events)

    def fail(self) -> None:
        """See `readiness`."""
        if self._watched is not None:
            self._watched.fail()
