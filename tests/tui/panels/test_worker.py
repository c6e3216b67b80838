from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from miles_router.core.events import Event
from miles_router.core.snapshot import ProbeView
from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs
from miles_router.tui.history import History
from miles_router.tui.panels.worker import detail_lines
from tests.tui.views import a_snapshot, a_worker

if TYPE_CHECKING:
    from miles_router.tui.rows.table import Line


def text(line: Line) -> str:
    return "".join(cell.text for cell in line).rstrip()


def event(seq: int, worker_id: str | None) -> Event:
    return Event(seq=seq, time_s=0.0, kind="x", message=f"event {seq}", worker_id=worker_id)


def test_all_fields_of_a_worker_that_is_well() -> None:
    worker = a_worker(
        inflight=3, load_share=0.25, served=1234, latency_p50_s=0.7, latency_p99_s=2.75,
        labels={"zone": "a", "gpu": "h100"},
    )  # fmt: skip
    history = History()
    history.take(a_snapshot([worker]), 0.0)
    lines = [text(line) for line in detail_lines(worker, history, 79)]
    assert lines == [
        "url          http://10.0.0.1:30000",
        "state        ● active for 1m01s",
        "why          probe passed",
        "in flight    3, 25.0% of all",
        "last 2m      " + "█".rjust(60),
        "requests     - per second, 1,234 finished",
        "latency      p50 700ms, p99 2.75s (its last 100 requests)",
        "errors       0",
        "weights      128",
        "health       passed 3s ago in 4.0ms",
        "in a row     0 failed, 2 passed",
        "id           w0",
        "model        /models/tiny",
        "type         regular",
        "labels       zone=a gpu=h100",
    ]


def test_what_needs_attention_is_marked() -> None:
    worker = a_worker(
        status="draining", is_held=True, is_leaving=True, drain_deadline_s=9.5, errors=7,
        is_newest_version=False, failures_in_row=2, passes_in_row=0, model_path=None,
        last_probe=ProbeView("timeout", 3.0, 2.0, "no\nanswer"),
    )  # fmt: skip
    history = History()
    history.take(a_snapshot([a_worker(errors=4)]), 0.0)
    history.take(a_snapshot([worker]), 1.0)
    lines = [text(line) for line in detail_lines(worker, history, 79)]
    for expected in (
        "held         yes! by an operator, until it is released",
        "leaving      yes! removed once nothing runs; what runs is cut in 9s!",
        "errors       7, 3! in the last 2 minutes",
        "weights      128! not the newest",
        r"health       timeout! 3s ago in 2.00s: no\nanswer",
        "in a row     2! failed, 0 passed",
        "model        -",
    ):
        assert expected in lines
    unprobed = [text(line) for line in detail_lines(a_worker(last_probe=None), History(), 79)]
    assert "health       not probed yet" in unprobed


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(st.text(max_size=40), st.integers(0, 120), st.integers(-5, 10**12))
def test_lines_are_as_wide_as_asked(glyphs: Glyphs, words: str, width: int, number: int) -> None:
    worker = a_worker(
        words,
        url=words,
        status=words,
        reason=words,
        weight_version=words,
        labels={words: words},
        inflight=number,
        drain_deadline_s=float(number),
        last_probe=ProbeView(words, 1.0, 1.0, words),
    )
    for line in detail_lines(worker, History(), width, glyphs=glyphs):
        drawn = "".join(cell.text for cell in line)
        assert cell_len(drawn) == width
        assert drawn.isprintable()
        assert not glyphs.is_ascii or drawn.isascii()


def test_a_long_reason_is_read_in_full() -> None:
    reason = "5 failures in a row: connect timed out after 2 s while the pool was updated"
    lines = [text(line) for line in detail_lines(a_worker(reason=reason), History(), 51)]
    place = lines.index("why          5 failures in a row: connect timed out")
    assert lines[place + 1] == "             after 2 s while the pool was updated"


IMPORTANT = (
    "url",
    "state",
    "why",
    "in flight",
    "requests",
    "latency",
    "errors",
    "weights",
    "health",
)


def test_reasons_never_push_what_matters_out_of_sight() -> None:
    long = "connect timed out after 2 s " * 9
    worker = a_worker(
        status="draining", reason=long, is_leaving=True, drain_deadline_s=598.0,
        last_probe=ProbeView("timeout", 3.0, 2.0, long),
    )  # fmt: skip
    for height in (12, 14, 16, 100):
        lines = [text(line) for line in detail_lines(worker, History(), 79, height=height)]
        shown = [line.split("  ")[0] for line in lines[:height]]
        assert set(IMPORTANT) <= set(shown), height
        assert "in a row" in shown
        said = " ".join(line[13:].strip() for line in lines if not line.startswith("why"))
        assert long.strip() in said  # whole, where it can be scrolled to
    assert not any("whole" in text(line) for line in detail_lines(a_worker(), History(), 79))


def test_without_a_deadline_or_without_a_removal_one_thing_is_said() -> None:
    leaving = [text(line) for line in detail_lines(a_worker(is_leaving=True), History(), 79)]
    assert "leaving      yes! removed once nothing runs" in leaving
    limited = [text(line) for line in detail_lines(a_worker(drain_deadline_s=9.5), History(), 79)]
    assert "drain        what runs is cut in 9s!" in limited


def test_where_there_is_room_nothing_is_cut() -> None:
    worker = a_worker(is_leaving=True, is_held=True, drain_deadline_s=598.0)
    lines = [text(line) for line in detail_lines(worker, History(), 58, height=18)]
    assert not any("…" in line for line in lines)
    assert "9m58s!" in " ".join(lines)


def test_weights_that_nobody_told_are_not_called_old() -> None:
    """As those of a worker that no probe has reached yet."""
    view = a_worker(weight_version=None, is_newest_version=False)
    (line,) = (one for one in detail_lines(view, History(), 60) if one[0].text.startswith("weig"))
    assert [cell.text.strip() for cell in line] == ["weights", "unknown!"]
