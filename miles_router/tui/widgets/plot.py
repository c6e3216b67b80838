"""A curve over time with its axis, as wide and high as the widget is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from miles_router.tui import format as fmt
from miles_router.tui.chart import chart, plot_width
from miles_router.tui.rows import Cell
from miles_router.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from miles_router.tui.glyphs import Glyphs


class Past(Protocol):
    """Values over a span, oldest first, as many as are asked for."""

    def __call__(self, span_s: int = ..., width: int = ...) -> Sequence[float]:
        """At most `width` values."""


class Plot(Lines):
    """See the module."""

    def plot(
        self,
        past: Past,
        span_s: int,
        glyphs: Glyphs,
        label: Callable[[float], str] = fmt.count,
    ) -> None:
        """Draw the last `span_s` seconds; nothing where the widget has no room."""
        width, height = self.size
        if not width or not height:
            return
        values = past(span_s, plot_width(width))
        lines = chart(values, width, height, glyphs, span_s=span_s, label=label)
        self.show((Cell(text, "accent"),) for text in lines)
