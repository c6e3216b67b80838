"""All that a view needs to draw itself at one moment, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from miles_router.core.events import Event
    from miles_router.core.log_ring import LogLine
    from miles_router.core.snapshot import Snapshot
    from miles_router.tui.glyphs import Glyphs
    from miles_router.tui.history import History
    from miles_router.tui.source import Link


@dataclass(frozen=True, slots=True)
class Seen:
    """`now` is monotonic seconds; `tz` is where times of day are, None: here;
    `notes` stand in the head, such as "paused". `needs_token`: commands
    from a shell need the admin token.

    `snapshot` is None until the first one came.
    """

    snapshot: Snapshot | None
    events: Sequence[Event]
    log_lines: Sequence[LogLine]
    history: History
    link: Link
    now: float
    url: str
    glyphs: Glyphs
    tz: tzinfo | None
    notes: tuple[str, ...]
    can_change: bool
    needs_token: bool
