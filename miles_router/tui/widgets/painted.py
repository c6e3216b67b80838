"""Cells of pure modules made into styled segments.

A cell is a text and a tone, a word such as "good" or "warn". Which colour a tone has is said by
`style.tcss` alone, through component classes, so that themes, `-mono` and 16 colours need no code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TONES = ("good", "warn", "bad", "dim", "accent")


class Toned(Protocol):
    """A piece of text with the word for its looks; equal pieces compare equal."""

    @property
    def text(self) -> str:
        """What is shown."""

    @property
    def tone(self) -> str:
        """One of `TONES`, or empty."""


TONE_CLASSES = frozenset(f"tone--{tone}" for tone in TONES)


class Painted(Widget):
    """A widget that draws lines of cells.

    The looks of the tones are component classes of its screen, not of each widget: Textual computes
    them for whoever has them, again with every change of a class, which took half of the start.
    """

    _plain: Style | None = None
    _tones: dict[str, Style] | None = None

    @property
    def plain_style(self) -> Style:
        """The style of text without a tone. Textual's own property walks all ancestors each time,
        which is a third of the cost of a line."""
        if self._plain is None:
            self._plain = self.rich_style
        return self._plain

    def notify_style_update(self) -> None:
        """The theme or a class changed."""
        self._plain = self._tones = None
        super().notify_style_update()

    def tone_style(self, tone: str) -> Style:
        """The style of `tone`; one that the screen has no looks for is plain."""
        if self._tones is None:
            self._tones = {}
        style = self._tones.get(tone)
        if style is None:
            style = self.plain_style
            if f"tone--{tone}" in self.screen.COMPONENT_CLASSES:
                # Whole, since a shade such as $text-muted has no colour without a ground.
                style += self.screen.get_component_rich_style(f"tone--{tone}")
                style += Style.from_color(None, self.plain_style.bgcolor)
            self._tones[tone] = style
        return style

    def strip_of(self, cells: Iterable[Toned], width: int) -> Strip:
        """One line of cells, cut or filled up to `width`."""
        segments = [Segment(cell.text, self.tone_style(cell.tone)) for cell in cells]
        return Strip(segments).adjust_cell_length(width, self.plain_style)


def width_of(cells: Sequence[Toned]) -> int:
    """Columns of the terminal that `cells` take."""
    return sum(cell_len(cell.text) for cell in cells)
