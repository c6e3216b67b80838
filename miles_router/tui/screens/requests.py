"""The running requests, the longest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from miles_router.tui.actions import Scope
from miles_router.tui.availability import NOTHING, Selected
from miles_router.tui.names import NOT_SHOWN, is_partial
from miles_router.tui.rows import (
    REQUEST_FIELDS,
    REQUEST_SORT,
    RequestRow,
    request_layout,
    request_rows,
)
from miles_router.tui.screens.arranged import Arranged
from miles_router.tui.screens.table_view import TableView
from miles_router.tui.widgets.line_table import LineTable
from miles_router.tui.widgets.titled import set_title

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from miles_router.tui.rows import Layout
    from miles_router.tui.screens.seen import Seen


class RequestsView(TableView[RequestRow]):
    """See the module."""

    scope: ClassVar[Scope] = Scope.REQUESTS

    def __init__(self, *, cursor_mark: str, id: str | None = None) -> None:  # noqa: A002
        arranged = Arranged(REQUEST_FIELDS, REQUEST_SORT)
        super().__init__(arranged, LineTable(cursor_mark=cursor_mark, id="requests-table"), id=id)

    def compose(self) -> ComposeResult:
        """The table."""
        yield self.table

    def selected(self) -> Selected:
        """The request under the cursor."""
        key, snapshot = self.table.cursor_key, None if self.seen is None else self.seen.snapshot
        if key is None or snapshot is None:
            return NOTHING
        return Selected(request=next((r for r in snapshot.requests if r.request_id == key), None))

    def layout_of(self, width: int) -> Layout[RequestRow]:
        """The columns that have room."""
        return request_layout(width)

    def show(self, seen: Seen) -> None:
        """Draw this moment."""
        self.seen = seen
        self.show_table(seen)

    def show_table(self, seen: Seen) -> None:
        """Draw the table alone."""
        if seen.snapshot is None:
            return
        sort, glyphs = self.arranged.sort, seen.glyphs
        rows = request_rows(seen.snapshot, sort=sort, where=self.arranged.where, glyphs=glyphs)
        layout = request_layout(self.table.row_width)
        note = "no request is running"
        if is_partial(seen.snapshot):
            note = NOT_SHOWN
            set_title(self.table, "requests")
        else:
            self.set_title("longest requests", len(rows), len(seen.snapshot.requests), seen)
        keys = [row.id for row in rows]
        self.show_rows(keys, lambda place: rows[place].cells(layout), layout, note)
