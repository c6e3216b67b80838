from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from miles_router.core.events import Event
from miles_router.core.log_ring import LogLine
from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs
from miles_router.tui.rows import event_fields, field_lines, log_fields

if TYPE_CHECKING:
    from miles_router.tui.rows.table import Line

AT = 1_786_000_000.0
URL = "http://10.0.0.3:30000"


def text(line: Line) -> str:
    return "".join(cell.text for cell in line).rstrip()


def test_an_event_with_all_its_fields() -> None:
    event = Event(
        7, AT, "worker_suspect", f"{URL} is suspect: {URL}: connection refused by the host",
        worker_id="w-0003", url=URL, from_state="active", to_state="suspect",
        reason=f"{URL}: connection refused by the host",
    )  # fmt: skip
    assert [text(line) for line in field_lines(event_fields(event, tz=UTC), 60)] == [
        "when         2026-08-06 07:06:40",
        "what         10.0.0.3:30000 is suspect: connection refused",
        "             by the host",
        "kind         worker_suspect",
        "level        ! warn",
        "worker       http://10.0.0.3:30000",
        "id           w-0003",
        "state        active to suspect",
        "why          http://10.0.0.3:30000: connection refused by",
        "             the host",
    ]


def test_fields_that_an_event_does_not_have_are_left_out() -> None:
    shown = field_lines(event_fields(Event(1, AT, "sweep", "done"), tz=UTC), 40)
    assert [text(line).split()[0] for line in shown] == ["when", "what", "kind", "level"]


def test_a_line_of_the_log_keeps_its_traceback() -> None:
    line = LogLine(
        1, AT, "error", "request_failed id=7\n  File x, line 3, in a very long path\n\nE"
    )
    assert [text(each) for each in field_lines(log_fields(line, tz=UTC), 36)] == [
        "when         2026-08-06 07:06:40",
        "level        \u00d7 error",
        "what         request_failed id=7",
        "               File x, line 3, in a",
        "               very long path",
        "",
        "             E",
    ]


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(st.text(max_size=60), st.integers(0, 90), st.floats(allow_nan=True))
def test_lines_are_as_wide_as_asked_and_steer_nothing(
    glyphs: Glyphs, words: str, width: int, time_s: float
) -> None:
    event = Event(1, time_s, words, words, words, words, words, words, words)
    pairs = [
        *event_fields(event, glyphs=glyphs),
        *log_fields(LogLine(1, time_s, words, words), glyphs=glyphs),
    ]
    for line in field_lines(pairs, width, glyphs=glyphs):
        drawn = "".join(cell.text for cell in line)
        assert cell_len(drawn) == width
        assert drawn.isprintable()
        assert not glyphs.is_ascii or drawn.isascii()
