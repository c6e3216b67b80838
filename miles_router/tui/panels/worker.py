"""Everything about one worker as lines of a label and a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.tui import format as fmt
from miles_router.tui.glyphs import UNICODE, Glyphs, spark
from miles_router.tui.rows.fields import LABEL_WIDTH, Pair, field_lines
from miles_router.tui.rows.table import Cell, Line, Tone
from miles_router.tui.rows.worker import STATE_TONES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.core.snapshot import WorkerView
    from miles_router.tui.history import History

_REASONS = ("why", "held", "leaving", "drain", "health")
_REASON_LINES = 3


def detail_lines(
    view: WorkerView,
    history: History,
    width: int,
    *,
    height: int = 100,
    glyphs: Glyphs = UNICODE,
) -> list[Line]:
    """All fields of a worker on lines of exactly `width` cells, what matters most first.

    Reasons go on below as far as `height` lines still hold what matters; one that is cut is said
    whole at the end.
    """
    first = [*_standing(view, glyphs), *_work(view, history, width, glyphs), *_health(view, glyphs)]
    last = list(_rest(view, glyphs))
    for lines_each in range(_REASON_LINES, 0, -1):
        most = dict.fromkeys([*dict(first), *dict(last)], 1)
        most |= dict.fromkeys(_REASONS, lines_each)
        lines = field_lines(first, width, most=most, glyphs=glyphs)
        if len(lines) <= height:
            break
    lines += field_lines(last, width, most=most, glyphs=glyphs)
    room = max(0, width - LABEL_WIDTH)
    whole = [
        (f"whole {label}", cell)
        for label, cell in first
        if label in _REASONS and room and len(fmt.wrap(cell.text, room)) > lines_each
    ]
    return lines + field_lines(whole, width, glyphs=glyphs)


def _standing(view: WorkerView, glyphs: Glyphs) -> Iterable[Pair]:
    safe = glyphs.safe
    yield "url", Cell(safe(view.url))
    sign = glyphs.states.get(view.status, glyphs.levels["warn"])
    state = f"{sign} {safe(view.status)} for {fmt.age(view.since_s)}"
    tone: Tone = STATE_TONES.get(view.status, "")
    yield "state", Cell(state, tone)
    yield "why", Cell(safe(view.reason))
    if view.is_held:
        yield "held", Cell(f"yes{glyphs.attention} by an operator, until it is released", "warn")
    left = f"what runs is cut in {fmt.age(view.drain_deadline_s)}{glyphs.attention}"
    is_limited = view.drain_deadline_s is not None
    if view.is_leaving:
        more = f"; {left}" if is_limited else ""
        says = f"yes{glyphs.attention} removed once nothing runs{more}"
        yield "leaving", Cell(says, "warn")
    elif is_limited:
        yield "drain", Cell(left, "warn")


def _work(view: WorkerView, history: History, width: int, glyphs: Glyphs) -> Iterable[Pair]:
    share = fmt.percent(view.load_share)
    yield "in flight", Cell(f"{view.inflight:,}, {share} of all")
    cells = max(0, min(60, width - LABEL_WIDTH))
    values = history.inflight(view.id, cells) if cells else ()
    yield "last 2m", Cell(spark(values, cells, history.inflight_top(), glyphs), "accent")
    rate = fmt.rate(history.rate(view.id))
    yield "requests", Cell(f"{rate} per second, {view.served:,} finished")
    p50, p99 = fmt.seconds(view.latency_p50_s), fmt.seconds(view.latency_p99_s)
    yield "latency", Cell(f"p50 {p50}, p99 {p99} (its last 100 requests)")
    recent = history.recent_errors(view.id)
    of_late = f", {recent:,}{glyphs.attention} in the last 2 minutes" if recent else ""
    yield "errors", Cell(f"{view.errors:,}{of_late}", "bad" if recent else "")


def _health(view: WorkerView, glyphs: Glyphs) -> Iterable[Pair]:
    safe = glyphs.safe
    version, sign = view.weight_version, glyphs.attention
    if view.is_newest_version:
        yield "weights", Cell(fmt.UNKNOWN if version is None else safe(version))
    elif version is None:
        yield "weights", Cell(f"unknown{sign}", "warn")
    else:
        yield "weights", Cell(f"{safe(version)}{sign} not the newest", "warn")
    probe = view.last_probe
    if probe is None:
        yield "health", Cell("not probed yet", "dim")
    else:
        is_bad = probe.outcome != "passed"
        text = (
            f"{safe(probe.outcome)}{glyphs.attention if is_bad else ''} {fmt.age(probe.age_s)} ago"
        )
        text += f" in {fmt.seconds(probe.duration_s)}"
        text += f": {safe(probe.detail)}" if probe.detail else ""
        yield "health", Cell(text, "bad" if is_bad else "")
    failures = view.failures_in_row
    in_row = (
        f"{failures:,}{glyphs.attention if failures else ''} failed, {view.passes_in_row:,} passed"
    )
    yield "in a row", Cell(in_row, "bad" if failures else "")


def _rest(view: WorkerView, glyphs: Glyphs) -> Iterable[Pair]:
    safe = glyphs.safe
    yield "id", Cell(safe(view.id))
    yield "model", Cell(fmt.UNKNOWN if view.model_path is None else safe(view.model_path))
    yield "type", Cell(safe(view.worker_type))
    labels = " ".join(f"{safe(name)}={safe(value)}" for name, value in view.labels.items())
    yield "labels", Cell(labels or fmt.UNKNOWN, "" if labels else "dim")
