"""Lines that come in at the end, as of a log: it stays at the newest until someone scrolls up.

Whoever reads further up keeps the lines under their eyes when new ones come and old ones fall out:
lines are known by their sequence numbers, which grow. The cursor is on one of them; on the newest
it goes along.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, ClassVar, cast

from rich.segment import Segment
from textual.strip import Strip

from miles_router.tui.widgets.scroll_lines import ScrollLines, moving_bindings

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from textual import events
    from textual.binding import BindingType

    from miles_router.tui.widgets.painted import Toned


class Tail(ScrollLines, can_focus=True, inherit_bindings=False):
    """See the module. A click selects, a second click opens; lines of one number are one thing."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = moving_bindings()

    def __init__(self, *, cursor_mark: str = "▌", id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._cursor_mark = cursor_mark
        self._seqs: Sequence[int] = ()
        self._cells: Callable[[int], Sequence[Toned]] = lambda _row: ()
        self._cursor = 0

    @property
    def follows(self) -> bool:
        """Whether the newest line is in view, with the cursor on it."""
        is_last = self._cursor >= self.row_count - 1
        return is_last and self.top_row + self.page_rows >= self.row_count

    @property
    def cursor_row(self) -> int | None:
        """The line under the cursor; None where there is none."""
        return self._cursor if self._cursor < self.row_count else None

    @property
    def row_width(self) -> int:
        """Cells that a line has beside the mark of the cursor."""
        return max(0, self.scrollable_content_region.width - 1)

    def show(self, seqs: Sequence[int], cells: Callable[[int], Sequence[Toned]]) -> None:
        """The lines by their numbers, oldest first; `cells(row)` is asked of lines in view."""
        follows, before = self.follows, self._seqs
        top, cursor = self.top_row, self._cursor
        self._seqs, self._cells = seqs, cells
        self.set_row_count(len(seqs))
        if follows or not before:
            self._cursor = max(0, len(seqs) - 1)
            self._go(len(seqs))
        else:
            self._cursor = max(0, min(_moved(before, cursor, seqs), len(seqs) - 1))
            self._go(_moved(before, top, seqs))
        self.update_lines()

    def on_resize(self) -> None:
        """The cursor stays in view; a tail that followed still does."""
        super().on_resize()
        self.show_row(self._cursor)

    def _go(self, row: int) -> None:
        row = max(0, min(row, self.row_count - self.page_rows))
        if row != self.top_row:
            self.scroll_to(y=row, animate=False, immediate=True)

    def select(self, row: int) -> None:
        """Move the cursor to `row`, as near as there is one."""
        self._cursor = max(0, min(row, self.row_count - 1))
        self.show_row(self._cursor)
        self.update_lines()

    def _move(self, step: int) -> None:
        """From where it is; where the wheel left it out of view, from the nearest line in view."""
        top = self.top_row
        self.select(max(top, min(self._cursor, top + self.page_rows - 1)) + step)

    def action_move(self, step: int) -> None:
        """Some lines up or down."""
        self._move(step)

    def action_move_page(self, step: int) -> None:
        """A window up or down."""
        self._move(step * max(1, self.page_rows - 1))

    def action_move_to(self, row: int) -> None:
        """The oldest line, or, with -1, the newest."""
        self.select(row if row >= 0 else self.row_count - 1)

    def on_focus(self) -> None:
        """The cursor is drawn stronger."""
        self.redraw()

    def on_blur(self) -> None:
        """The cursor is drawn weaker."""
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Select a line; open it with the second click."""
        place = event.get_content_offset(self)
        if place is None or not self.top_row + place.y < self.row_count:
            return
        self.select(self.top_row + place.y)
        if event.chain == 2:
            self.post_message(self.Opened(self))

    def content(self, row: int) -> Hashable:
        """The cells, and whether the cursor is here."""
        return tuple(self._cells(row)), row == self._cursor

    def paint(self, content: Hashable, width: int) -> Strip:
        """One line: the mark of the cursor, then its cells."""
        cells, is_cursor = cast("tuple[tuple[Toned, ...], bool]", content)
        if not is_cursor:
            line = self.strip_of(cells, max(0, width - 1))
            return Strip.join([Strip.blank(1, self.plain_style), line])
        over = self.get_component_rich_style("table--cursor", partial=True)
        segments = [Segment(self._cursor_mark, self.plain_style + over)]
        segments += [Segment(cell.text, self.tone_style(cell.tone) + over) for cell in cells]
        return Strip(segments).adjust_cell_length(width, self.plain_style + over)


def _moved(before: Sequence[int], row: int, after: Sequence[int]) -> int:
    """Where the line that was at `row` is now, or what took its place."""
    if row >= len(before) or (row < len(after) and after[row] == before[row]):
        return row
    first = bisect_left(before, before[row])
    return bisect_left(after, before[row]) + max(0, row - first)
