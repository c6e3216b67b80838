"""One worker as a row: what its cells, its order and its filter are made of.

A row holds a view and is cheap to make; what costs is worked out for rows that are asked for it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from miles_router.core.lifecycle import State
from miles_router.tui.glyphs import UNICODE, Glyphs

if TYPE_CHECKING:
    from collections.abc import Hashable

    from miles_router.core.snapshot import WorkerView
    from miles_router.tui.history import History
    from miles_router.tui.rows.table import Layout, Line, Tone

_DIGITS = re.compile(r"([0-9]+)")

# From what an operator should look at first to what runs by itself.
SEVERITY = {
    state.value: place
    for place, state in enumerate(
        (
            State.QUARANTINED,
            State.SUSPECT,
            State.STALE,
            State.PROBATION,
            State.JOINING,
            State.DRAINING,
            State.DRAINED,
            State.ACTIVE,
            State.REMOVED,
        )
    )
}
STATE_TONES: dict[str, Tone] = {
    "active": "good",
    "suspect": "warn",
    "quarantined": "bad",
    "stale": "warn",
    "probation": "accent",
    "joining": "accent",
    "draining": "dim",
    "drained": "dim",
    "removed": "dim",
}


class WorkerRow:
    """One worker on the screen."""

    __slots__ = ("glyphs", "history", "order", "view")

    def __init__(self, view: WorkerView, order: int, history: History, glyphs: Glyphs) -> None:
        self.view = view
        self.order = order
        self.history = history
        self.glyphs = glyphs

    @property
    def id(self) -> str:
        """The worker's id."""
        return self.view.id

    @property
    def name(self) -> str:
        """What it is called on the screen: its URL, safe, without the usual scheme."""
        return short_url(self.view.url, self.glyphs)

    @property
    def tone(self) -> Tone:
        """The tone of its state."""
        return STATE_TONES.get(self.view.status, "")

    @property
    def rate(self) -> float | None:
        """Requests per second over the last seconds."""
        return self.history.rate(self.view.id)

    @property
    def recent_errors(self) -> int:
        """Errors of the last two minutes."""
        return self.history.recent_errors(self.view.id)

    @property
    def attention(self) -> tuple[int, int, int, int]:
        """Smaller is more urgent: state, old weights, failed probes, errors of late."""
        view = self.view
        severity = SEVERITY.get(view.status, 0)
        return severity, view.is_newest_version, -view.failures_in_row, -self.recent_errors

    @property
    def looks(self) -> Hashable:
        """All that its cells are made of: while it is equal, they are.

        It is made in a tenth of their time. Ages count in whole seconds, as they are shown.
        """
        view = self.view
        probe = view.last_probe
        return (
            view.url, view.status, view.inflight, view.load_share, view.errors, view.served,
            view.latency_p50_s, view.latency_p99_s, view.weight_version, view.is_newest_version,
            view.failures_in_row, view.reason, view.since_s // 1,
            None if probe is None else (probe.outcome, probe.age_s // 1),
            self.history.moment(view.id),
        )  # fmt: skip

    def cells(self, layout: Layout[WorkerRow]) -> Line:
        """Its cells, each as wide as its column."""
        return layout.draw(self, self.glyphs)


@lru_cache(maxsize=8192)
def short_url(url: str, glyphs: Glyphs = UNICODE) -> str:
    """A worker's URL as its name on the screen: safe, without `http://` and the last slash."""
    return glyphs.safe(url.removeprefix("http://").rstrip("/"))


@lru_cache(maxsize=8192)
def natural(text: str) -> tuple[object, ...]:
    """A key that puts 10.0.0.9 before 10.0.0.10."""
    parts = _DIGITS.split(text)
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts))
