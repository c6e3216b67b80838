"""The totals as a row of boxes, or, where the screen is low, as one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.tui.format import fit, fit_most
from miles_router.tui.panels.head import tile_line
from miles_router.tui.rows import Cell
from miles_router.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from miles_router.tui.glyphs import Glyphs
    from miles_router.tui.panels.head import Tile
    from miles_router.tui.rows import Line

# Narrower ones cannot hold "412.5k!" and a short title in their frame.
MIN_BOX_WIDTH = 15


class TileRow(Lines):
    """See the module."""

    def tell(self, tiles: tuple[Tile, ...], glyphs: Glyphs) -> None:
        """Show these totals."""
        width, height = self.size
        if height >= 3:
            self.show(boxes(tiles, width, glyphs))
        elif height:
            self.show([tile_line(tiles, width, glyphs)])


def boxes(tiles: tuple[Tile, ...], width: int, glyphs: Glyphs) -> list[Line]:
    """Three lines with as many boxes of one width as have room, the first ones first."""
    shown = tiles[: max(1, width // MIN_BOX_WIDTH)]
    each, rest = divmod(width, len(shown))
    corners = "++++" if glyphs.is_ascii else "╭╮╰╯"
    bar, side = ("-", "|") if glyphs.is_ascii else ("─", "│")
    lines: tuple[list[Cell], list[Cell], list[Cell]] = ([], [], [])
    for place, tile in enumerate(shown):
        inner = each + (place < rest) - 2
        title = _title(tile, bar, inner, glyphs)
        lines[0].append(Cell(corners[0] + title.ljust(inner, bar) + corners[1], "dim"))
        value = fit(f" {glyphs.safe(tile.value)}", inner, glyphs=glyphs)
        lines[1].extend((Cell(side, "dim"), Cell(value, tile.tone), Cell(side, "dim")))
        lines[2].append(Cell(corners[2] + bar * inner + corners[3], "dim"))
    return [tuple(line) for line in lines]


def _title(tile: Tile, bar: str, inner: int, glyphs: Glyphs) -> str:
    """The title between bars, the short one where the other has no room."""
    long, short = (f"{bar} {glyphs.safe(each)} " for each in (tile.title, tile.short))
    return long if len(long) <= inner else fit_most(short, inner, glyphs)
