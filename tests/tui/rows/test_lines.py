from __future__ import annotations

from datetime import UTC

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from miles_router.core.events import Event
from miles_router.core.log_ring import LogLine
from miles_router.tui.filters import parse
from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs
from miles_router.tui.rows.lines import (
    EVENT_FIELDS,
    LOG_FIELDS,
    Level,
    event_level,
    event_line,
    event_words,
    log_lines,
)
from miles_router.tui.rows.table import Cell, Line

AT = 1_786_000_000.0


def event(kind: str = "worker_active", message: str = "it is active", seq: int = 1) -> Event:
    return Event(
        seq=seq, time_s=AT, kind=kind, message=message, worker_id="w0", url="http://10.0.0.1:1",
        from_state="joining", to_state="active", reason="probe passed",
    )  # fmt: skip


def text(line: Line) -> str:
    return "".join(cell.text for cell in line)


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("worker_active", "good"),
        ("worker_suspect", "warn"),
        ("worker_quarantined", "bad"),
        ("worker_draining", "quiet"),
        ("first_probe_failed", "warn"),
        ("task_failed", "bad"),
        ("journal_failed", "bad"),
        ("something new", "quiet"),
    ],
)
def test_levels_of_events(kind: str, level: Level) -> None:
    assert event_level(event(kind)) == level


def test_an_event_has_its_time_its_mark_and_its_words() -> None:
    line = event_line(event("worker_quarantined", "w03 is quarantined"), 40, tz=UTC)
    assert text(line) == "07:06:40 \u00d7 w03 is quarantined           "
    assert line[1] == Cell("\u00d7 ", "bad")
    assert text(event_line(event(), 24, tz=UTC)) == "✓ it is active          "
    assert text(event_line(event(), 8, glyphs=ASCII, tz=UTC)) == "+ it is~"


URL = "http://10.0.0.10:30000"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"{URL} is active: probe passed", "10.0.0.10:30000 is active: probe passed"),
        (
            f"{URL} is suspect: {URL}: connection refused",
            "10.0.0.10:30000 is suspect: connection refused",
        ),
        (
            f"{URL} is quarantined: 5 in a row: {URL}: GET /health answered 503",
            "10.0.0.10:30000 is quarantined: 5 in a row: GET /health answered 503",
        ),
        (
            f"{URL} is quarantined: {URL} answers, but not as a worker",
            "10.0.0.10:30000 is quarantined: it answers, but not as a worker",
        ),
        (
            f"weight version '128' arrived with {URL}",
            "weight version '128' arrived with 10.0.0.10:30000",
        ),
        (f"{URL}0 is another one", f"{URL}0 is another one"),
        ("no address at all", "no address at all"),
    ],
)
def test_an_event_says_once_which_worker_it_is_about(message: str, shown: str) -> None:
    one = msgspec.structs.replace(event(message=message), url=URL)
    assert event_words(one) == shown
    assert text(event_line(one, 100, tz=UTC)).strip() == f"07:06:40 ✓ {shown}"


def test_events_keep_their_order_and_are_filtered() -> None:
    events = [event(seq=1), event("worker_drained", "it is drained", 2), event("x", "other", 3)]
    drawn = [event_line(one, 40, tz=UTC) for one in events]
    assert [text(line)[:16] for line in drawn] == [
        "07:06:40 ✓ it is", "07:06:40 · it is", "07:06:40 · other",
    ]  # fmt: skip
    for written, kept in {
        "kind:drained": 1, "level:good": 1, "it": 2, "worker:10.0.0.1": 3, "to:active": 3,
        "from:=joining why:probe": 3, "-it": 1,
    }.items():  # fmt: skip
        assert len(parse(written, EVENT_FIELDS).keep(events)) == kept, written


def test_log_lines_have_their_level_and_tracebacks_their_lines() -> None:
    lines = [
        LogLine(1, AT, "info", "serving"),
        LogLine(2, AT, "error", "request_failed id=7\n  Traceback\n  ValueError: x\x1b[2J"),
        LogLine(3, AT, "warning", ""),
    ]
    drawn = log_lines(lines, 44, tz=UTC)
    assert [text(line).rstrip() for line in drawn] == [
        "07:06:40 · serving",
        "07:06:40 \u00d7 request_failed id=7",
        "             Traceback",
        r"             ValueError: x\x1b[2J",
        "07:06:40 !",
    ]
    assert drawn[1][1].tone == "bad"
    for written, kept in {"level:=error": 1, "ValueError": 1, "-level:error": 2}.items():
        assert len(parse(written, LOG_FIELDS).keep(lines)) == kept, written


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(st.text(max_size=60), st.integers(0, 90), st.floats(allow_nan=True))
def test_lines_are_as_wide_as_asked_and_steer_nothing(
    glyphs: Glyphs, message: str, width: int, time_s: float
) -> None:
    event = Event(seq=1, time_s=time_s, kind=message, message=message)
    logged = [LogLine(1, time_s, message, message)]
    lines = [event_line(event, width, glyphs=glyphs), *log_lines(logged, width, glyphs=glyphs)]
    for line in lines:
        assert cell_len(text(line)) == width
        assert text(line).isprintable()
        assert not glyphs.is_ascii or text(line).isascii()
