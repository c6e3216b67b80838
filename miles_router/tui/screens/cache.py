"""The token cache: what it holds and refused, and which tenant has how much of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Horizontal

from miles_router.tui.actions import Scope
from miles_router.tui.availability import NOTHING, Selected
from miles_router.tui.filters import Filter
from miles_router.tui.names import NOT_SHOWN, is_partial
from miles_router.tui.panels import cache_lines
from miles_router.tui.screens.arranged import Arranged
from miles_router.tui.screens.table_view import TableView
from miles_router.tui.screens.tenants import (
    TENANT_FIELDS,
    TENANT_SORT,
    TenantRow,
    tenant_layout,
    tenant_rows,
)
from miles_router.tui.widgets.line_table import LineTable
from miles_router.tui.widgets.lines import Lines
from miles_router.tui.widgets.titled import set_title

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from miles_router.tui.rows import Layout
    from miles_router.tui.screens.seen import Seen

# What the full form needs; where it has no room, the short one leaves nothing important out.
FULL_LINES = 16


class TokenCacheView(TableView[TenantRow]):
    """See the module."""

    scope: ClassVar[Scope] = Scope.CACHE
    can_filter: ClassVar[bool] = False

    def __init__(self, *, cursor_mark: str, id: str | None = None) -> None:  # noqa: A002
        arranged = Arranged(TENANT_FIELDS, TENANT_SORT)
        super().__init__(arranged, LineTable(cursor_mark=cursor_mark, id="tenants-table"), id=id)

    def compose(self) -> ComposeResult:
        """Sums at the left, tenants at the right."""
        with Horizontal(id="cache-panes"):
            yield Lines(title="token cache", id="cache-sums", classes="panel")
            yield self.table

    def selected(self) -> Selected:
        """The tenant under the cursor."""
        key = self.table.cursor_key
        return NOTHING if key is None else Selected(tenant=key)

    def layout_of(self, width: int) -> Layout[TenantRow]:
        """The columns that have room."""
        return tenant_layout(width)

    def show(self, seen: Seen) -> None:
        """Draw this moment."""
        self.seen = seen
        if seen.snapshot is None:
            return
        sums = self.query_one("#cache-sums", Lines)
        width, height = sums.size
        if width:
            is_full = height >= FULL_LINES
            shown = cache_lines(
                seen.snapshot.token_cache,
                width,
                is_full=is_full,
                is_told=not is_partial(seen.snapshot),
                glyphs=seen.glyphs,
            )
            sums.show(shown)
        self.show_table(seen)

    def show_table(self, seen: Seen) -> None:
        """Draw the table alone."""
        cache = None if seen.snapshot is None else seen.snapshot.token_cache
        rows: list[TenantRow] = []
        if cache is not None:
            rows = tenant_rows(cache, sort=self.arranged.sort, where=Filter(), glyphs=seen.glyphs)
        layout = tenant_layout(self.table.row_width)
        note = "there is no token cache" if cache is None else "nothing is stored yet"
        if is_partial(seen.snapshot):
            note = NOT_SHOWN
            set_title(self.table, "tenants")
        else:
            self.set_title("tenants", len(rows), len(rows), seen)
        keys = [row.tenant for row in rows]
        self.show_rows(keys, lambda place: rows[place].cells(layout), layout, note)
