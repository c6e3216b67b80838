"""Tables of live rows: which columns have room, how rows are ordered, how a cell is fitted.

Generic over the rows. Rows are sorted and filtered by cheap keys; cells are made only when a row is
asked for them, so that a table of 1,000 costs what is visible. Nothing here knows a screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

from miles_router.tui.format import Align, Cut, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from miles_router.tui.format import Glyphs

Tone = Literal["", "good", "warn", "bad", "dim", "accent"]
"""What a text says by its colour, which is never the only thing that says it."""

Key = float | str | tuple[object, ...]
"""What a column is ordered by; None where the value is not known."""

R = TypeVar("R")


class Cell(NamedTuple):
    """A piece of a line: safe text and its tone. A tuple is made faster than a dataclass."""

    text: str
    tone: Tone = ""


Line = tuple[Cell, ...]
"""A line of the screen; the texts of its cells stand next to each other."""


@dataclass(frozen=True, slots=True)
class Sort:
    """The order of a table: a column's id or one of the table's own orders."""

    key: str
    is_reversed: bool = False


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column. Columns with a lower `rank` are shown first where the screen is narrow.

    `draw(row, width)` makes the content, safe but not fitted. Of the room that is left, each column
    in the order of `grows` takes as much as `most_width` allows. `has_mark`: its last cell is kept
    for the attention sign. `spare`: it is shown only where so many cells are left over for others
    to grow. `sizes`: the only widths that it grows to. `is_number`: the first look
    is at the largest, so it sorts downwards first.
    """

    id: str
    title: str
    draw: Callable[[R, int], Cell]
    width: int
    rank: int
    key: Callable[[R], Key | None] | None = None
    align: Align = "left"
    cut: Cut = "end"
    grows: int = 0
    most_width: int = 0
    sizes: tuple[int, ...] = ()
    spare: int = 0
    has_mark: bool = False
    is_number: bool = False
    help: str = ""


@dataclass(frozen=True)
class Layout(Generic[R]):
    """The columns that are shown and their widths, one cell apart."""

    columns: tuple[Column[R], ...]
    widths: tuple[int, ...]

    @property
    def width(self) -> int:
        """Cells of a whole row."""
        return sum(self.widths) + max(0, len(self.widths) - 1)

    def column_at(self, x: int) -> Column[R] | None:
        """The column under the cell `x` of a row, its gap at the right included."""
        left = 0
        for column, width in zip(self.columns, self.widths, strict=True):
            if left <= x < left + width + 1:
                return column
            left += width + 1
        return None

    def header(self, sort: Sort, glyphs: Glyphs) -> Line:
        """The titles, as wide as the columns; the one that orders the table has an arrow."""
        cells = []
        for column, width in zip(self.columns, self.widths, strict=True):
            is_sorted = column.id == sort.key
            arrow = glyphs.falling if sort.is_reversed else glyphs.rising
            title = column.title + (arrow if is_sorted else " " if column.has_mark else "")
            text = fit(title, width, align=column.align, glyphs=glyphs)
            cells.append(Cell(text, "accent" if is_sorted else "dim"))
        return tuple(cells)

    def draw(self, row: R, glyphs: Glyphs) -> Line:
        """The cells of `row`, each exactly as wide as its column."""
        cells = []
        for column, width in zip(self.columns, self.widths, strict=True):
            text, tone = column.draw(row, width)
            if not text.isascii() or len(text) > width:
                text = fit(text, width, align=column.align, cut=column.cut, glyphs=glyphs)
            elif column.align == "right":
                text = text.rjust(width)
            else:
                text = text.ljust(width)
            cells.append(Cell(text, tone))
        return tuple(cells)


def lay_out(columns: Sequence[Column[R]], width: int) -> Layout[R]:
    """The columns that have room in `width` cells, in their own order.

    They are taken by rank until one has no room, so that a wider table never lacks a column that a
    narrower one has. The first two by rank are always there and shrink if they must.
    """
    chosen: list[Column[R]] = []
    used = -1
    for column in sorted(columns, key=lambda c: c.rank):
        if used + 1 + column.width + column.spare > width and len(chosen) >= 2:
            break
        chosen.append(column)
        used += 1 + column.width
    shown = [column for column in columns if column in chosen]
    widths = {column.id: column.width for column in shown}
    left = width - used
    for column in sorted((c for c in shown if c.grows), key=lambda c: c.grows):
        added = _growth(column, left)
        widths[column.id] += added
        left -= added
    for column in reversed(shown):  # narrower than the columns that must be there
        if left < 0:
            taken = min(-left, widths[column.id])
            widths[column.id] -= taken
            left += taken
    return Layout(tuple(shown), tuple(widths[column.id] for column in shown))


def _growth(column: Column[R], left: int) -> int:
    """How many of the `left` cells the column takes."""
    if column.sizes:
        return max((s - column.width for s in column.sizes if s - column.width <= left), default=0)
    return max(0, min(left, column.most_width - column.width))


def in_order(rows: Iterable[R], key: Callable[[R], Key | None], *, is_reversed: bool) -> list[R]:
    """`rows` sorted by `key`, equal ones as they came; the unknown is last in both directions."""
    known: list[tuple[Key, R]] = []
    unknown: list[R] = []
    for row in rows:
        value = key(row)
        if value is None:
            unknown.append(row)
        else:
            known.append((value, row))
    known.sort(key=lambda pair: pair[0], reverse=is_reversed)
    return [row for _, row in known] + unknown
