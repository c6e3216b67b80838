"""A view whose main part is a table that can be filtered and ordered."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from textual import on

from miles_router.tui import format as fmt
from miles_router.tui.names import NO_MATCH
from miles_router.tui.rows import Cell
from miles_router.tui.screens.view import View
from miles_router.tui.widgets.line_table import LineTable
from miles_router.tui.widgets.titled import set_title

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from miles_router.tui.rows import Layout, Line
    from miles_router.tui.screens.arranged import Arranged
    from miles_router.tui.screens.seen import Seen

R = TypeVar("R")


class TableView(View, Generic[R]):
    """Subclasses say which rows there are and which columns have room."""

    can_filter: ClassVar[bool] = True

    def __init__(self, arranged: Arranged[R], table: LineTable, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.arranged = arranged
        self.table = table
        self.seen: Seen | None = None

    def layout_of(self, width: int) -> Layout[R]:
        """The columns that have room."""
        raise NotImplementedError

    def show_table(self, seen: Seen) -> None:
        """Draw the table alone."""
        raise NotImplementedError

    def set_title(self, what: str, shown: int, among: int, seen: Seen) -> None:
        """The title of the table, if it is another one."""
        set_title(self.table, self.arranged.title(what, shown, among, seen.glyphs))

    def show_rows(
        self, keys: Sequence[str], cells: Callable[[int], Line], layout: Layout[R], note: str
    ) -> None:
        """The rows, under the titles of `layout`; where there are none, `note` says why."""
        assert self.seen is not None
        if self.arranged.where and not keys:
            note = NO_MATCH
        glyphs = self.seen.glyphs
        self.table.tell((Cell(f" {fmt.fit_most(note, self.table.row_width, glyphs)}", "dim"),))
        titles = layout.header(self.arranged.sort, glyphs) if keys or self.arranged.where else ()
        self.table.show(keys, cells, titles)

    @property
    def filter_text(self) -> str:
        """The filter that is in force."""
        return self.arranged.where.text

    def set_filter(self, text: str) -> None:
        """Show only rows that match."""
        self.arranged.set_filter(text)
        self._again()

    def sort_next(self) -> str:
        """Sort by the next order."""
        word = self.arranged.sort_next(self.layout_of(self.table.row_width))
        self._again()
        return word

    def reverse(self) -> bool:
        """Turn the order round."""
        self.arranged.reverse()
        self._again()
        return True

    def take_focus(self) -> None:
        """The table has the keys."""
        self.table.focus()

    @on(LineTable.HeadClicked)
    def _head_clicked(self, event: LineTable.HeadClicked) -> None:
        event.stop()
        self.arranged.head_clicked(event.x, self.layout_of(self.table.row_width))
        self._again()

    def _again(self) -> None:
        if self.seen is not None:
            self.show_table(self.seen)
