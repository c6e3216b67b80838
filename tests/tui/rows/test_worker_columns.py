from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from miles_router.core.snapshot import ProbeView
from miles_router.core.worker import ProbeOutcome
from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs
from miles_router.tui.history import History
from miles_router.tui.rows.table import Cell, Layout, Sort
from miles_router.tui.rows.worker import WorkerRow
from miles_router.tui.rows.worker_columns import COLUMNS, mark, worker_layout
from tests.tui.views import a_snapshot, a_worker

BY_ID = {column.id: column for column in COLUMNS}
NARROW = {"state", "name", "inflight", "rate", "errors", "p99", "weights", "failures"}


COMFORTABLE = NARROW | {"p50", "health", "spark", "share", "bar"}


def cell(column_id: str, history: History | None = None, width: int = 0, **fields: Any) -> Cell:
    """The cell of a worker that differs in `fields`, as wide as its column."""
    column = BY_ID[column_id]
    row = WorkerRow(a_worker(**fields), 0, history or History(), UNICODE)
    layout = Layout((column,), (width or column.width,))
    return row.cells(layout)[0]


@pytest.mark.parametrize(
    ("column_id", "fields", "expected"),
    [
        ("state", {}, Cell("● active     ", "good")),
        ("state", {"status": "quarantined"}, Cell("\u00d7 quarantined", "bad")),
        ("state", {"status": "stale"}, Cell("~ stale      ", "warn")),
        ("state", {"status": "odd\x1b"}, Cell(r"! odd\x1b    ", "")),
        ("name", {}, Cell("10.0.0.1:30000    ")),
        ("name", {"url": "http://worker-17.pool.example:30000"}, Cell("worker-17…le:30000")),
        ("inflight", {"inflight": 34}, Cell("   34")),
        ("inflight", {}, Cell("    0", "dim")),
        ("share", {"load_share": 0.123}, Cell("12.3%")),
        ("rate", {}, Cell("     -", "dim")),
        ("errors", {"errors": 41}, Cell("   41 ")),
        ("errors", {}, Cell("    0 ", "dim")),
        ("p50", {"latency_p50_s": 0.716}, Cell("716ms")),
        ("p99", {}, Cell("    -")),
        ("weights", {}, Cell("    128 ")),
        ("weights", {"is_newest_version": False}, Cell("    128!", "warn")),
        ("weights", {"weight_version": None, "is_newest_version": False}, Cell("unknown!", "warn")),
        ("weights", {"weight_version": None, "is_newest_version": True}, Cell("      - ")),
        (
            "weights",
            {"weight_version": "step-000128", "is_newest_version": False},
            Cell("step-0…!", "warn"),
        ),
        ("health", {}, Cell("passed <10s  ", "dim")),
        ("health", {"last_probe": None}, Cell("-            ", "dim")),
        (
            "health",
            {"last_probe": ProbeView("passed", 59.0, 2.0, "")},
            Cell("passed 50s   ", "dim"),
        ),
        (
            "health",
            {"last_probe": ProbeView("passed", 75.0, 2.0, "")},
            Cell("passed 1m    ", "dim"),
        ),
        (
            "health",
            {"last_probe": ProbeView("timeout", 9.0, 2.0, "")},
            Cell("timeout 9s!  ", "bad"),
        ),
        (
            "health",
            {"last_probe": ProbeView("timeout", 12.0, 2.0, "")},
            Cell("timeout 12s! ", "bad"),
        ),
        (
            "health",
            {"last_probe": ProbeView("timeout", 75.0, 2.0, "")},
            Cell("timeout 1m!  ", "bad"),
        ),
        (
            "health",
            {"last_probe": ProbeView("not_a_worker", 7_300.0, 2.0, "")},
            Cell("not_a_worker!", "bad"),
        ),
        ("failures", {"failures_in_row": 5}, Cell("   5!", "bad")),
        ("failures", {}, Cell("   0 ", "dim")),
        ("served", {"served": 82_400}, Cell("  82.4k")),
        ("since", {}, Cell("    1m", "dim")),
        ("reason", {"reason": "two\nlines"}, Cell(r"two\nlines      ", "dim")),
        ("id", {}, Cell("w0           ", "dim")),
        ("spark", {}, Cell(" " * 11, "accent")),
        ("bar", {}, Cell(" " * 4, "accent")),
    ],
)
def test_cells(column_id: str, fields: dict[str, Any], expected: Cell) -> None:
    assert cell(column_id, **fields) == expected


def test_what_takes_time_comes_from_the_history() -> None:
    history = History()
    for second in range(3):
        busy = a_worker(inflight=8, served=20 * second, errors=second)
        history.take(a_snapshot([busy, a_worker("w1", inflight=16)]), float(second))
    assert cell("rate", history) == Cell("    20")
    assert cell("errors", history, errors=2) == Cell("    2!", "bad")
    assert cell("bar", history, inflight=8) == Cell("██  ", "accent")
    assert cell("spark", history).text.strip() == "▅"  # one scale: the other has twice as many
    assert BY_ID["spark"].key is not None
    assert BY_ID["spark"].key(WorkerRow(a_worker(), 0, history, UNICODE)) == 8


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (59, {"state", "name", "inflight", "rate", "errors"}),
        (79, NARROW),
        (96, NARROW | {"p50", "spark"}),
        (115, NARROW | {"p50", "health", "spark", "share"}),
        (116, COMFORTABLE),  # a screen of 120 columns
        (136, COMFORTABLE),
        (141, COMFORTABLE),
        (142, COMFORTABLE | {"since"}),
        (196, set(BY_ID)),
    ],
)
def test_columns_by_width(width: int, expected: set[str]) -> None:
    layout = worker_layout(width)
    assert {column.id for column in layout.columns} == expected
    assert layout.width <= width


@pytest.mark.parametrize(("width", "cells"), [(116, 11), (135, 20), (141, 24), (142, 20)])
def test_the_past_has_room_before_what_is_seldom_needed(width: int, cells: int) -> None:
    layout = worker_layout(width)
    shown = dict(zip((one.id for one in layout.columns), layout.widths, strict=True))
    assert shown["spark"] == cells


@pytest.mark.parametrize("outcome", list(ProbeOutcome))
@pytest.mark.parametrize("columns", [120, 200])
def test_no_word_for_health_is_cut(outcome: ProbeOutcome, columns: int) -> None:
    layout = worker_layout(columns - 4)  # borders, cursor and scroll bar
    width = dict(zip((one.id for one in layout.columns), layout.widths, strict=True))["health"]
    for age_s in (0.0, 59.0, 61.0, 3_599.0, 86_399.0, 9.9 * 86_400):
        shown = cell("health", width=width, last_probe=ProbeView(outcome, age_s, 2.0, "")).text
        assert shown.startswith(outcome.value)
        assert ("!" in shown) == (outcome is not ProbeOutcome.PASSED)
        assert columns < 200 or shown.rstrip(" !").endswith(("s", "m", "h", "d"))


def test_all_columns_can_be_sorted_by_and_have_room_for_their_arrow() -> None:
    for column in COLUMNS:
        assert column.key is not None
        layout = Layout((column,), (column.width,))
        title = layout.header(Sort(column.id), UNICODE)[0].text
        assert title.strip() == f"{column.title}▲"
        assert column.help


def test_the_attention_sign_is_never_cut_off() -> None:
    assert [mark("12345", width, UNICODE, is_marked=True) for width in (0, 1, 3, 6, 9)] == [
        "", "!", "1…!", "12345!", "12345!",
    ]  # fmt: skip
    assert mark("12345", 6, UNICODE, is_marked=False) == "12345 "


NASTY = st.text(st.characters() | st.sampled_from("\x1b\x9b\n\r\t\u202e東é\u0301"), max_size=40)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(
    text=NASTY,
    number=st.integers(0, 10**15),
    seconds=st.none() | st.floats(0, 1e9),
    width=st.integers(0, 260),
    is_newest=st.booleans(),
)
def test_no_cell_is_wider_than_its_column_and_none_steers_the_terminal(
    glyphs: Glyphs, text: str, number: int, seconds: float | None, width: int, is_newest: bool
) -> None:
    worker = a_worker(
        text,
        url=f"http://{text}",
        status=text,
        inflight=number,
        weight_version=text,
        is_newest_version=is_newest,
        served=number,
        errors=number,
        failures_in_row=number,
        last_probe=None if seconds is None else ProbeView(text, seconds, seconds, text),
        latency_p99_s=seconds,
        reason=text,
    )
    history = History()
    history.take(a_snapshot([worker]), 0.0)
    layout = worker_layout(width)
    cells = WorkerRow(worker, 0, history, glyphs).cells(layout)
    assert [cell_len(cell.text) for cell in cells] == list(layout.widths)
    assert all(cell.text.isprintable() for cell in cells)
    assert not glyphs.is_ascii or all(cell.text.isascii() for cell in cells)
