"""The columns of the table of workers: what is in a cell, what orders it, how wide it is.

By rank: the first eight fit 79 cells (a screen of 80 less the cursor). The sparkline, the median,
the last health result, the load and its bar join them in 116 (a screen of 120), and 196 have room
for all; what is seldom needed waits until name, health and sparkline have grown. The longest
health results have no age where the column has not grown: words are not cut.
"""

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len

from miles_router.tui import format as fmt
from miles_router.tui.glyphs import Glyphs, bar, spark
from miles_router.tui.rows.table import Cell, Column, Layout, lay_out
from miles_router.tui.rows.worker import SEVERITY, WorkerRow, natural


@lru_cache(maxsize=32)
def worker_layout(width: int) -> Layout[WorkerRow]:
    """The columns that have room in `width` cells: the table itself, without borders and cursor."""
    return lay_out(COLUMNS, width)


def mark(text: str, width: int, glyphs: Glyphs, *, is_marked: bool) -> str:
    """`text` and the attention sign, which no cut takes away; a blank where there is none."""
    kept = fmt.fit(text, width - 1, glyphs=glyphs).rstrip() if width > 0 else ""
    return (kept + (glyphs.attention if is_marked else " "))[: max(width, 0)]


def _state(row: WorkerRow, _width: int) -> Cell:
    status = row.view.status
    glyph = row.glyphs.states.get(status, row.glyphs.levels["warn"])
    return Cell(f"{glyph} {row.glyphs.safe(status)}", row.tone)


def _name(row: WorkerRow, _width: int) -> Cell:
    return Cell(row.name)


def _inflight(row: WorkerRow, _width: int) -> Cell:
    inflight = row.view.inflight
    return Cell(fmt.count(inflight), "" if inflight else "dim")


def _bar(row: WorkerRow, width: int) -> Cell:
    top = row.history.inflight_top()
    share = row.view.inflight / top if top > 0 else 0.0
    return Cell(bar(share, width, row.glyphs), "accent")


def _share(row: WorkerRow, _width: int) -> Cell:
    return Cell(fmt.percent(row.view.load_share), "" if row.view.load_share else "dim")


def _rate(row: WorkerRow, _width: int) -> Cell:
    rate = row.rate
    return Cell(fmt.rate(rate), "" if rate else "dim")


def _errors(row: WorkerRow, width: int) -> Cell:
    is_recent = row.recent_errors > 0
    text = mark(fmt.count(row.view.errors), width, row.glyphs, is_marked=is_recent)
    return Cell(text, "bad" if is_recent else "" if row.view.errors else "dim")


def _p50(row: WorkerRow, _width: int) -> Cell:
    return Cell(fmt.seconds(row.view.latency_p50_s))


def _p99(row: WorkerRow, _width: int) -> Cell:
    return Cell(fmt.seconds(row.view.latency_p99_s))


def _weights(row: WorkerRow, width: int) -> Cell:
    view, glyphs = row.view, row.glyphs
    is_old = not view.is_newest_version
    if view.weight_version is not None:
        version = glyphs.safe(view.weight_version)
    else:  # where nobody has one, none is missing
        version = "unknown" if is_old else fmt.UNKNOWN
    return Cell(mark(version, width, glyphs, is_marked=is_old), "warn" if is_old else "")


def _health(row: WorkerRow, width: int) -> Cell:
    probe = row.view.last_probe
    if probe is None:
        return Cell(fmt.UNKNOWN, "dim")
    is_bad = probe.outcome != "passed"
    word = row.glyphs.safe(probe.outcome)
    exact = fmt.age(probe.age_s) if is_bad else fmt.rough_age(probe.age_s)
    ages = (exact, fmt.coarse_age(probe.age_s))
    texts = (f"{word} {age}" for age in ages)
    text = next((text for text in texts if cell_len(text) < width), word)
    return Cell(mark(text, width, row.glyphs, is_marked=is_bad), "bad" if is_bad else "dim")


def _failures(row: WorkerRow, width: int) -> Cell:
    failures = row.view.failures_in_row
    text = mark(fmt.count(failures), width, row.glyphs, is_marked=failures > 0)
    return Cell(text, "bad" if failures else "dim")


def _spark(row: WorkerRow, width: int) -> Cell:
    history = row.history
    values = history.inflight(row.view.id, width)
    return Cell(spark(values, width, history.inflight_top(), row.glyphs), "accent")


def _served(row: WorkerRow, _width: int) -> Cell:
    return Cell(fmt.count(row.view.served))


def _since(row: WorkerRow, _width: int) -> Cell:
    return Cell(fmt.rough_age(row.view.since_s), "dim")


def _id(row: WorkerRow, _width: int) -> Cell:
    return Cell(row.glyphs.safe(row.view.id), "dim")


def _reason(row: WorkerRow, _width: int) -> Cell:
    return Cell(row.glyphs.safe(row.view.reason), "dim")


def _weights_key(row: WorkerRow) -> tuple[object, ...] | None:
    version = row.view.weight_version
    return None if version is None else natural(version)


def _health_key(row: WorkerRow) -> tuple[object, ...] | None:
    probe = row.view.last_probe
    return None if probe is None else (probe.outcome == "passed", probe.outcome, probe.age_s)


_SPARE = 19  # six more for an address, four for health, nine for the sparkline
COLUMNS: tuple[Column[WorkerRow], ...] = (
    Column(
        "state", "STATE", _state, width=13, rank=0,
        key=lambda r: SEVERITY.get(r.view.status, 0), help="where it stands",
    ),
    Column(
        "name", "WORKER", _name, width=18, rank=1, cut="middle", grows=1, most_width=24,
        key=lambda r: natural(r.view.url), help="its URL, without http://",
    ),
    Column(
        "inflight", "INFL", _inflight, width=5, rank=2, align="right", is_number=True,
        key=lambda r: r.view.inflight, help="requests in flight",
    ),
    Column(
        "bar", "", _bar, width=4, rank=12, grows=4, most_width=8,
        key=lambda r: r.view.inflight, help="requests in flight, on one scale for all rows",
    ),
    Column(
        "share", "LOAD", _share, width=5, rank=11, align="right", is_number=True,
        key=lambda r: r.view.load_share, help="its part of all requests in flight",
    ),
    Column(
        "rate", "REQ/S", _rate, width=6, rank=3, align="right", is_number=True,
        key=lambda r: r.rate, help="requests finished per second",
    ),
    Column(
        "errors", "ERR", _errors, width=6, rank=4, align="right", has_mark=True, is_number=True,
        key=lambda r: r.view.errors, help="errors; ! some in the last two minutes",
    ),
    Column(
        "p50", "P50", _p50, width=5, rank=9, align="right", is_number=True,
        key=lambda r: r.view.latency_p50_s, help="median duration of its last 100 requests",
    ),
    Column(
        "p99", "P99", _p99, width=5, rank=6, align="right", is_number=True,
        key=lambda r: r.view.latency_p99_s, help="99th percentile of the same",
    ),
    Column(
        "weights", "WEIGHTS", _weights, width=8, rank=5, align="right", has_mark=True,
        grows=6, most_width=12, key=_weights_key,
        help="weight version; ! not the newest, or unknown",
    ),
    Column(
        "health", "HEALTH", _health, width=13, rank=10, grows=2, most_width=17,
        key=_health_key, help="last health result and its age; ! it failed",
    ),
    Column(
        "failures", "FAIL", _failures, width=5, rank=7, align="right", has_mark=True,
        is_number=True, key=lambda r: r.view.failures_in_row, help="failed probes in a row",
    ),
    Column(
        "spark", "INFL 2M", _spark, width=11, rank=8, grows=3, is_number=True,
        sizes=(11, 20, 24, 30, 40),
        key=lambda r: r.history.inflight_mean(r.id),
        help="requests in flight over two minutes, on one scale for all rows",
    ),
    Column(
        "served", "SERVED", _served, width=7, rank=14, spare=_SPARE, align="right",
        is_number=True,
        key=lambda r: r.view.served, help="requests finished",
    ),
    Column(
        "since", "SINCE", _since, width=6, rank=13, spare=_SPARE, align="right", is_number=True,
        key=lambda r: r.view.since_s, help="how long it has been in this state",
    ),
    Column(
        "reason", "WHY", _reason, width=16, rank=15, spare=_SPARE, grows=5, most_width=60,
        key=lambda r: r.view.reason, help="why it is in this state",
    ),
    Column(
        "id", "ID", _id, width=13, rank=16, spare=_SPARE,
        key=lambda r: r.id, help="its id, the same after a restart",
    ),
)  # fmt: skip
