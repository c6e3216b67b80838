"""Plots of one line over time: filled columns, an axis with its maximum, and what the width spans.

Text only. Several plots that are given the same `top` compare.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from miles_router.tui import format as fmt
from miles_router.tui.glyphs import UNICODE, Glyphs
from miles_router.tui.series import plot_span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LABEL_WIDTH = 6
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def nice_top(highest: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten: a scale that does not jump all the time."""
    if not highest > 0 or math.isinf(highest):
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next((power * step for step in _STEPS if power * step >= highest), power * 10)


def plot_width(width: int) -> int:
    """How many values have room in a chart of `width` cells: ask `History` for so many."""
    return max(0, width - _LABEL_WIDTH - 1)


def chart(
    values: Sequence[float],
    width: int,
    height: int,
    glyphs: Glyphs = UNICODE,
    *,
    span_s: float | None = None,
    top: float | None = None,
    label: Callable[[float], str] = fmt.count,
) -> list[str]:
    """`height` lines of `width` cells: `values`, oldest first, from 0 to `top`.

    NaN leaves a gap, zero is a thin line; where there is nothing else, there is no scale. `top`
    None: what is highest, rounded up. With `span_s`, the seconds that `History` was asked for, the
    last line says how long ago the first column was. Fewer values than cells stand at the right; of
    more, the newest are shown.
    """
    if width <= 0 or height <= 0:
        return [" " * max(0, width)] * max(0, height)
    room = plot_width(width)
    shown = list(values[-room:]) if room else []
    known = [value for value in shown if not math.isnan(value)]
    scale = nice_top(max(known, default=0.0)) if top is None else top
    rows = height - (1 if span_s is not None and height > 1 else 0)
    columns = [_column(value, scale, rows, glyphs) for value in shown]
    lines = []
    for row in range(rows):
        text, axis = "", glyphs.axis
        if row == 0:
            text, axis = label(scale) if known else fmt.UNKNOWN, glyphs.tick
        elif row == rows - 1:
            text, axis = label(0) if known else "", glyphs.tick
        plotted = "".join(column[rows - 1 - row] for column in columns)
        head = fmt.fit(text, _LABEL_WIDTH, align="right", glyphs=glyphs) + axis
        lines.append(fmt.fit(head + plotted.rjust(room), width, glyphs=glyphs))
    if rows < height:
        lines.append(_time_axis(width, room, plot_span(round(span_s or 0), room), glyphs))
    return lines


def _column(value: float, top: float, rows: int, glyphs: Glyphs) -> str:
    """One value as a column of characters from the floor up; zero is a line on the floor."""
    if math.isnan(value):
        return glyphs.unknown * rows
    if value <= 0:
        return glyphs.zero.ljust(rows)
    parts = len(glyphs.blocks)
    share = min(1.0, value / top) if top > 0 else 0.0
    filled = math.ceil(share * rows * parts)
    whole, rest = divmod(filled, parts)
    column = glyphs.blocks[-1] * whole + (glyphs.blocks[rest - 1] if rest else "")
    return column.ljust(rows)


def _time_axis(width: int, room: int, span_s: float, glyphs: Glyphs) -> str:
    since, until = f"{fmt.age(span_s)} ago", "now"
    gap = room - len(since) - len(until)
    text = since + " " * gap + until if gap > 0 else until.rjust(max(0, room))
    return fmt.fit(" " * (_LABEL_WIDTH + 1) + text, width, glyphs=glyphs)
