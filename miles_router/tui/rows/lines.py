"""Events and log lines: one line of the screen each, with a mark for how serious it is.

The mark and the words say it; the tone repeats it. Texts come from workers and clients: all of them
are made safe here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from miles_router.tui import format as fmt
from miles_router.tui.filters import Field, Fields
from miles_router.tui.glyphs import UNICODE, Glyphs
from miles_router.tui.names import short_url
from miles_router.tui.rows.table import Cell, Line, Tone

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo

    from miles_router.core.events import Event
    from miles_router.core.log_ring import LogLine

Level = Literal["quiet", "good", "warn", "bad"]

_TONES: dict[Level, Tone] = {"quiet": "", "good": "good", "warn": "warn", "bad": "bad"}
_EVENT_LEVELS: dict[str, Level] = {
    "worker_active": "good",
    "worker_suspect": "warn",
    "worker_stale": "warn",
    "worker_quarantined": "bad",
    "weight_version": "good",
    "first_probe_failed": "warn",
    "drain_deadline": "warn",
}
_LOG_LEVELS: dict[str, Level] = {
    "debug": "quiet",
    "info": "quiet",
    "warning": "warn",
    "error": "bad",
    "critical": "bad",
    "exception": "bad",
}
_CLOCK_WIDTH = 8
_NARROW = 40


def event_level(event: Event) -> Level:
    """How serious it is, by its kind; a kind that says `failed` is bad whatever else it says."""
    known = _EVENT_LEVELS.get(event.kind)
    if known is not None:
        return known
    return "bad" if "failed" in event.kind else "quiet"


def log_level(line: LogLine) -> Level:
    """How serious it is, by the word of its level."""
    return _LOG_LEVELS.get(line.level.lower(), "quiet")


def level_tone(level: Level) -> Tone:
    """The tone that repeats what the mark says."""
    return _TONES[level]


def event_line(
    event: Event, width: int, *, glyphs: Glyphs = UNICODE, tz: tzinfo | None = None
) -> Line:
    """`11:05:53 × what happened`, exactly `width` cells."""
    level = event_level(event)
    return _line(event.time_s, level, event_words(event), width, glyphs, tz)


def event_words(event: Event) -> str:
    """What happened, the worker's URL once and without `http://`.

    The router's messages begin with the URL, and the reasons in them often do again.
    """
    return _with_url_once(event.message, event.url) if event.url else event.message


@lru_cache(maxsize=1024)
def _with_url_once(message: str, url: str) -> str:
    # Not where it is the beginning of a longer one, such as port 3000 of 30001.
    sought = rf"{re.escape(url)}(?![\w.-])"
    first = re.search(sought, message)
    if first is None:
        return message
    rest = re.sub(rf"{sought}: ", "", message[first.end() :])
    rest = re.sub(sought, "it", rest)
    return message[: first.start()] + short_url(url) + rest


def log_lines(
    lines: Iterable[LogLine],
    width: int,
    *,
    glyphs: Glyphs = UNICODE,
    tz: tzinfo | None = None,
) -> list[Line]:
    """The log lines; those of a traceback stand below the one that begins it."""
    shown: list[Line] = []
    for line in lines:
        level = log_level(line)
        first, *rest = line.text.splitlines() or [""]
        shown.append(_line(line.time_s, level, first, width, glyphs, tz))
        indent = "" if width < _NARROW else " " * (_CLOCK_WIDTH + 3)
        shown += [
            (Cell(fmt.fit(indent + glyphs.safe(text), width, glyphs=glyphs), "dim"),)
            for text in rest
        ]
    return shown


def _line(
    unix_s: float, level: Level, text: str, width: int, glyphs: Glyphs, tz: tzinfo | None
) -> Line:
    tone = level_tone(level)
    sign = f"{glyphs.levels[level]} "
    if width < _NARROW:
        return (Cell(fmt.fit(sign + glyphs.safe(text), width, glyphs=glyphs), tone),)
    rest = fmt.fit(glyphs.safe(text), width - _CLOCK_WIDTH - 3, glyphs=glyphs)
    is_dim = level == "quiet"
    return (
        Cell(fmt.clock(unix_s, tz) + " ", "dim"),
        Cell(sign, "dim" if is_dim else tone),
        Cell(rest, "" if level == "good" else tone),
    )


EVENT_FIELDS: Fields[Event] = Fields(
    (
        Field("kind", lambda e: e.kind, help="stable word: kind:worker_drained"),
        Field("level", event_level, help="quiet, good, warn, bad"),
        Field("worker", lambda e: f"{e.url or ''} {e.worker_id or ''}", aliases=("url", "id")),
        Field("from", lambda e: e.from_state, help="state before"),
        Field("to", lambda e: e.to_state, aliases=("state",), help="state after"),
        Field("why", lambda e: e.reason, aliases=("reason",), help="the reason given"),
    ),
    text=lambda e: f"{e.kind} {e.message} {e.worker_id or ''}",
)
LOG_FIELDS: Fields[LogLine] = Fields(
    (Field("level", lambda line: line.level, help="debug, info, warning, error"),),
    text=lambda line: f"{line.level} {line.text}",
)
