"""What the help says below the keys: the signs of states, columns, and the fields of the filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.tui.actions import Scope
from miles_router.tui.rows import (
    COLUMNS,
    EVENT_FIELDS,
    LOG_FIELDS,
    REQUEST_COLUMNS,
    REQUEST_FIELDS,
    WORKER_FIELDS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from miles_router.tui.filters import Fields
    from miles_router.tui.glyphs import Glyphs

Note = tuple[str, "Sequence[tuple[str, str]]"]

_FIELDS: dict[Scope, Fields[Any]] = {
    Scope.WORKERS: WORKER_FIELDS,
    Scope.REQUESTS: REQUEST_FIELDS,
    Scope.EVENTS: EVENT_FIELDS,
    Scope.LOG: LOG_FIELDS,
}
_STATES = {
    "joining": "was added; its first health checks are not through",
    "active": "takes requests",
    "suspect": "failed lately; takes requests only where no active worker can",
    "quarantined": "failed too often, or an operator took it out",
    "probation": "on its way back: health checks have to pass",
    "stale": "healthy, but its weights are not the newest",
    "draining": "takes nothing new; its running requests finish",
    "drained": "takes nothing and runs nothing",
}
_REQUEST_STATES = {
    "reading": "its body is still coming in",
    "queued": "waits for a worker",
    "generating": "a worker has it; nothing of its answer came yet",
    "answering": "its answer is on the way to the caller",
    "aborting": "was given up; its worker is being told",
}


def legend(scope: Scope, glyphs: Glyphs) -> list[Note]:
    """Headings with pairs of a word and what it means, for the place where help was asked."""
    notes: list[Note] = []
    if scope in {Scope.WORKERS, Scope.WORKER}:
        signs = [(f"{glyphs.states[word]} {word}", means) for word, means in _STATES.items()]
        notes.append(("States", signs))
    if scope is Scope.WORKERS:
        notes.append(("Columns", [(c.title, c.help) for c in COLUMNS if c.title and c.help]))
    if scope is Scope.REQUESTS:
        signs = [(f"{glyphs.requests[word]} {word}", is_) for word, is_ in _REQUEST_STATES.items()]
        notes.append(("States", signs))
        columns = [(c.title, c.help) for c in REQUEST_COLUMNS if c.title and c.help]
        notes.append(("Columns", columns))
    fields = _FIELDS.get(scope)
    if fields is not None:
        words = [(f"{each.name}:", each.help) for each in fields.all]
        notes.append(("Filter", [*words, ("word", "a part of what the row shows; -word: not")]))
    return notes
