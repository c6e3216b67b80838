"""Where the screens get what they show, and who carries out their commands.

Two kinds stand behind it, the router in this process and one behind HTTP: same screens for both.
Nothing here knows Textual, trio or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miles_router.core.events import Event
    from miles_router.core.log_ring import LogLine
    from miles_router.core.snapshot import Snapshot
    from miles_router.tui.commands import Command


class LinkState(StrEnum):
    """How fresh the numbers are."""

    WAITING = "waiting"  # nothing has come yet
    LIVE = "live"
    SILENT = "silent"  # the router is there, and gives nothing new to show
    LOST = "lost"  # the router does not answer; what is shown is old


@dataclass(frozen=True, slots=True)
class Link:
    """The connection to the router. Times are monotonic seconds.

    `detail` says what is wrong; `retry_at`: when it is tried again, None if nothing is due.
    """

    state: LinkState
    since: float
    detail: str = ""
    retry_at: float | None = None


class Controls(Protocol):
    """Carries out commands."""

    @property
    def refusal(self) -> str:
        """Why no command can be sent at all (read-only, no admin token); empty if they can."""

    async def perform(self, command: Command) -> str:
        """Carry out `command`; the sentence for the screen that says what was done.

        Raises:
            CommandRefused: it was not done; the message says why.
        """


class Source(Protocol):
    """What the screens are fed from. Everything but `run` returns at once."""

    url: str
    is_local: bool
    rate_hz: float
    """Snapshots per second that are wanted; may be set at any time."""

    @property
    def controls(self) -> Controls:
        """Who carries out commands."""

    @property
    def link(self) -> Link:
        """The state of the connection."""

    def latest(self) -> Snapshot | None:
        """The newest snapshot; the same object until there is a newer one. Events are left out."""

    def events(self) -> Sequence[Event]:
        """The newest events, oldest first, at most `EVENTS_KEPT`; kept when the link is lost."""

    def log_lines(self) -> Sequence[LogLine]:
        """The newest lines of the router's log, oldest first."""

    def focus(self, worker_id: str | None) -> None:
        """Ask that snapshots list the oldest requests of this worker; None: no longer."""

    def reconnect(self) -> None:
        """Try a lost link now."""

    async def run(self) -> None:
        """Keep all this fresh until cancelled; runs on the screens' asyncio loop."""


EVENTS_KEPT = 2_000
