"""Things with many fields, a label and a value each: one worker, one event, one line of the log.

A value that is longer than its line goes on below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from miles_router.tui import format as fmt
from miles_router.tui.glyphs import UNICODE, Glyphs
from miles_router.tui.rows.lines import event_level, event_words, level_tone, log_level
from miles_router.tui.rows.table import Cell, Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import tzinfo

    from miles_router.core.events import Event
    from miles_router.core.log_ring import LogLine

Pair = tuple[str, Cell]
"""A label and a value, both safe."""

LABEL_WIDTH = 13


def field_lines(
    pairs: Iterable[Pair],
    width: int,
    *,
    most: Mapping[str, int] | None = None,
    glyphs: Glyphs = UNICODE,
) -> list[Line]:
    """Lines of exactly `width` cells. A value has as many as it needs, or as `most` says of its
    label, the last one then cut."""
    label_width = min(LABEL_WIDTH, width)
    room = width - label_width
    lines: list[Line] = []
    for label, cell in pairs:
        texts = _texts(cell.text, room, (most or {}).get(label, 1000), glyphs)
        for place, text in enumerate(texts):
            shown = "" if place else label
            head = Cell(fmt.fit(shown, label_width, glyphs=glyphs), "dim")
            lines.append((head, Cell(fmt.fit(text, room, glyphs=glyphs), cell.tone)))
    return lines


def _texts(text: str, room: int, most: int, glyphs: Glyphs) -> list[str]:
    """`text` on lines; blanks at its beginning, as in a traceback, are kept on each."""
    if room <= 0 or cell_len(text) <= room:
        return [text]
    indent = text[: len(text) - len(text.lstrip(" "))][: room // 2]
    lines = fmt.wrap(text, room - len(indent), most, glyphs)
    return [indent + line for line in lines]


def event_fields(event: Event, *, glyphs: Glyphs = UNICODE, tz: tzinfo | None = None) -> list[Pair]:
    """All that an event says."""
    safe, level = glyphs.safe, event_level(event)
    pairs = [
        ("when", Cell(fmt.moment(event.time_s, tz))),
        ("what", Cell(safe(event_words(event)), level_tone(level))),
        ("kind", Cell(safe(event.kind))),
        ("level", Cell(f"{glyphs.levels[level]} {level}", level_tone(level))),
    ]
    steps = [safe(step) for step in (event.from_state, event.to_state) if step is not None]
    for label, value in (
        ("worker", event.url),
        ("id", event.worker_id),
        ("state", " to ".join(steps)),
        ("why", event.reason),
    ):
        if value:
            pairs.append((label, Cell(safe(value))))
    return pairs


def log_fields(line: LogLine, *, glyphs: Glyphs = UNICODE, tz: tzinfo | None = None) -> list[Pair]:
    """All that a line of the log says; lines of a traceback stay lines."""
    level = log_level(line)
    first, *rest = line.text.splitlines() or [""]
    return [
        ("when", Cell(fmt.moment(line.time_s, tz))),
        ("level", Cell(f"{glyphs.levels[level]} {glyphs.safe(line.level)}", level_tone(level))),
        ("what", Cell(glyphs.safe(first), level_tone(level))),
        *(("", Cell(glyphs.safe(text))) for text in rest),
    ]
