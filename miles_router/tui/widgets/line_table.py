"""A table of live rows whose cursor stays on a thing, not on a place.

Rows are known by keys. When they change order or number, the cursor goes where its row goes; when
its row is gone, it stays at the place. What stands in a row is asked of a callback, for rows in
view only. This file does not know what the rows are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from rich.segment import Segment
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from miles_router.tui.widgets.scroll_lines import ScrollLines, moving_bindings

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from rich.style import Style
    from textual import events
    from textual.binding import BindingType

    from miles_router.tui.widgets.painted import Toned


class LineTable(ScrollLines, can_focus=True, inherit_bindings=False):
    """See the module. A click selects, a second click or Enter opens, the wheel scrolls."""

    HEAD_LINES = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--head", "table--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = moving_bindings()

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, table: LineTable, key: str | None) -> None:
            super().__init__()
            self.table, self.key = table, key

        @property
        def control(self) -> LineTable:
            """The table, for `@on` selectors."""
            return self.table

    class HeadClicked(Message):
        """The head was clicked at cell `x` of the titles."""

        def __init__(self, table: LineTable, x: int) -> None:
            super().__init__()
            self.table, self.x = table, x

        @property
        def control(self) -> LineTable:
            """The table, for `@on` selectors."""
            return self.table

    def __init__(self, *, cursor_mark: str = "▌", id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._cursor_mark = cursor_mark
        self._titles: tuple[Toned, ...] = ()
        self._keys: Sequence[str] = ()
        self._cells: Callable[[int], Sequence[Toned]] = lambda _row: ()
        self._cursor = 0
        self._key: str | None = None

    @property
    def cursor_key(self) -> str | None:
        """The key of the row under the cursor; None in an empty table."""
        return self._key

    @property
    def keys(self) -> Sequence[str]:
        """The keys of all rows in order."""
        return self._keys

    @property
    def row_width(self) -> int:
        """Cells that a row has beside the mark of the cursor."""
        return max(0, self.scrollable_content_region.width - 1)

    def show(
        self,
        keys: Sequence[str],
        cells: Callable[[int], Sequence[Toned]],
        titles: Sequence[Toned],
    ) -> None:
        """The rows in order; `cells(row)`, as wide as their `titles`, is asked of rows in view."""
        fresh = tuple(titles)
        if fresh != self._titles:
            self._titles = fresh
            self.refresh(Region(0, 0, self.size.width, 1))
        was_in_view = self.top_row <= self._cursor < self.top_row + self.page_rows
        self._keys, self._cells = keys, cells
        self.set_row_count(len(keys))
        self._follow()
        if was_in_view and keys:
            self.show_row(self._cursor)
        self.update_lines()

    def _follow(self) -> None:
        """Put the cursor where its row is."""
        keys = self._keys
        if self._cursor < len(keys) and keys[self._cursor] == self._key:
            return
        if self._key is not None:
            try:
                self._cursor = keys.index(self._key)
            except ValueError:
                pass  # its row is gone: the one that took its place is next
            else:
                return
        self._cursor = max(0, min(self._cursor, len(keys) - 1))
        self._key = keys[self._cursor] if keys else None
        self.post_message(self.Moved(self, self._key))

    def select(self, row: int) -> None:
        """Move the cursor to `row`, as near as there is one."""
        if not self._keys:
            return
        row = max(0, min(row, len(self._keys) - 1))
        if row != self._cursor:
            self._cursor, self._key = row, self._keys[row]
            self.post_message(self.Moved(self, self._key))
        self.show_row(row)
        self.update_lines()

    def action_move(self, step: int) -> None:
        """Some rows up or down."""
        self.select(self._cursor + step)

    def action_move_page(self, step: int) -> None:
        """A window up or down."""
        self.select(self._cursor + step * max(1, self.page_rows - 1))

    def action_move_to(self, row: int) -> None:
        """The first row, or, with -1, the last."""
        self.select(row if row >= 0 else len(self._keys) - 1)

    def on_focus(self) -> None:
        """The cursor is drawn stronger."""
        self.redraw()

    def on_blur(self) -> None:
        """The cursor is drawn weaker."""
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Select a row, open it with the second click, or say that a title was clicked."""
        place = event.get_content_offset(self)
        if place is None:
            return
        if place.y == 0:
            self.post_message(self.HeadClicked(self, place.x - 1))
            return
        row = self.top_row + place.y - self.HEAD_LINES
        if not 0 <= row < len(self._keys):
            return
        self.select(row)
        if event.chain == 2 and self._key is not None:
            self.post_message(self.Opened(self))

    def content(self, row: int) -> Hashable:
        """The cells, and whether the cursor is here."""
        return tuple(self._cells(row)), row == self._cursor

    def paint(self, content: Hashable, width: int) -> Strip:
        """One row: the mark of the cursor, then cells with a gap between them."""
        cells, is_cursor = cast("tuple[tuple[Toned, ...], bool]", content)
        plain = self.plain_style
        over: Style | None = None
        if is_cursor:
            over = self.get_component_rich_style("table--cursor", partial=True)
            plain += over
        segments = [Segment(self._cursor_mark if is_cursor else " ", plain)]
        for cell in cells:
            style = plain if not cell.tone else self.tone_style(cell.tone)
            if over is not None and cell.tone:
                style += over
            segments.append(Segment(cell.text + " ", style))
        return Strip(segments).adjust_cell_length(width, plain)

    def head(self, width: int) -> Strip:
        """The titles; a blank line where there are none."""
        if not self._titles:
            return Strip.blank(width, self.plain_style)
        style = self.get_component_rich_style("table--head")
        segments = [Segment(" ", style)]
        for cell in self._titles:
            tone = self.tone_style(cell.tone) if cell.tone == "accent" else style
            segments.append(Segment(cell.text + " ", style + tone))
        return Strip(segments).adjust_cell_length(width, style)
