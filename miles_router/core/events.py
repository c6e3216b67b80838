"""What happened to the pool, newest last, for `/events`, the log and `/snapshot`.

Events are values; the ring keeps the newest `MAX_KEPT`. Listeners are called synchronously, in the
middle of the change they are told of: see `EventLog.subscribe`. This file must not know who reads.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_KEPT = 10_000


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened.

    `seq` counts from 1 without gaps; `time_s` is Unix time; `kind` is a stable word.
    """

    seq: int
    time_s: float
    kind: str
    message: str
    worker_id: str | None = None
    url: str | None = None
    from_state: str | None = None
    to_state: str | None = None
    reason: str | None = None


class EventLog:
    """The ring of events and those who want to hear of each."""

    def __init__(self, *, unix_offset_s: float = 0.0) -> None:
        """`unix_offset_s` + monotonic `now` = Unix time."""
        self._offset_s = unix_offset_s
        self._ring: deque[Event] = deque(maxlen=MAX_KEPT)
        self._listeners: list[Callable[[Event], None]] = []
        self._seq = 0

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest event; 0 before any."""
        return self._seq

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with each event from here on; returns the function that ends it.

        A listener must not block, raise, or call back into the pool or the log: the step it is
        told of is not finished, and an error would leave it half done. It may end its subscription.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            self._listeners.remove(listener)

        return unsubscribe

    def since(self, seq: int) -> list[Event]:
        """The kept events after `seq`, oldest first."""
        newer = []
        for event in reversed(self._ring):
            if event.seq <= seq:
                break
            newer.append(event)
        newer.reverse()
        return newer

    def add(  # the fields of an event, by name
        self,
        kind: str,
        message: str,
        now: float,
        *,
        worker_id: str | None = None,
        url: str | None = None,
        from_state: str | None = None,
        to_state: str | None = None,
        reason: str | None = None,
    ) -> Event:
        """Append one event and tell the listeners."""
        self._seq += 1
        event = Event(
            seq=self._seq,
            time_s=now + self._offset_s,
            kind=kind,
            message=message,
            worker_id=worker_id,
            url=url,
            from_state=from_state,
            to_state=to_state,
            reason=reason,
        )
        self._ring.append(event)
        for listener in tuple(self._listeners):
            listener(event)
        return event
