"""What has come from a router, kept across lost links and restarts.

A router that starts anew counts its events and log lines from 1 again: what came before stays, a
line of its own says where the new ones begin. Nothing here knows HTTP or a clock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from miles_router.core.events import Event
from miles_router.core.log_ring import LogLine
from miles_router.tui.source import EVENTS_KEPT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.core.snapshot import Snapshot

LOG_LINES_KEPT = 2_000
RESTARTED = "router_restarted"


class Received:
    """The newest snapshot, events and log lines.

    `events_seq` and `log_seq` are the last that are known of the present boot.
    """

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.boot_id = ""
        self.events_seq = 0
        self.log_seq = 0
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._lines: deque[LogLine] = deque(maxlen=LOG_LINES_KEPT)
        self._shown_events: tuple[Event, ...] | None = ()
        self._shown_lines: tuple[LogLine, ...] | None = ()

    def events(self) -> tuple[Event, ...]:
        """The kept events, oldest first; the same object until there is another."""
        if self._shown_events is None:
            self._shown_events = tuple(self._events)
        return self._shown_events

    def lines(self) -> tuple[LogLine, ...]:
        """The kept log lines, oldest first; the same object until there is another."""
        if self._shown_lines is None:
            self._shown_lines = tuple(self._lines)
        return self._shown_lines

    def take(self, snapshot: Snapshot, *, unix_now_s: float) -> bool:
        """Take in a snapshot; True if it is the first of another boot.

        One without a boot id (see `answers.read_workers`) tells of none.
        """
        self.snapshot = snapshot
        if not snapshot.boot_id or snapshot.boot_id == self.boot_id:
            return False
        was_known, self.boot_id = bool(self.boot_id), snapshot.boot_id
        self.events_seq = max(0, snapshot.last_event_seq - EVENTS_KEPT)
        self.log_seq = max(0, snapshot.log_seq - LOG_LINES_KEPT)
        if was_known:
            message = f"the router restarted (version {snapshot.version})"
            began_at = max(0.0, unix_now_s - snapshot.uptime_s)  # what follows happened since then
            self._events.append(Event(0, began_at, RESTARTED, message))
            self._lines.append(LogLine(0, began_at, "warning", message))
            self._shown_events = self._shown_lines = None
        return True

    def take_events(self, events: Iterable[Event]) -> None:
        """Append those that are newer than what is known."""
        for event in events:
            if event.seq > self.events_seq:
                self.events_seq = event.seq
                self._events.append(event)
                self._shown_events = None

    def take_lines(self, lines: Iterable[LogLine]) -> None:
        """Append those that are newer than what is known."""
        for line in lines:
            if line.seq > self.log_seq:
                self.log_seq = line.seq
                self._lines.append(line)
                self._shown_lines = None
