"""The workers, one row each; beside and below them what the width and height leave room for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Horizontal, Vertical

from miles_router.tui import format as fmt
from miles_router.tui.actions import Scope
from miles_router.tui.availability import NOTHING, Selected
from miles_router.tui.history import SPAN_S
from miles_router.tui.names import NOT_SHOWN, is_partial
from miles_router.tui.panels import cache_lines, empty_pool_lines, waiting_lines
from miles_router.tui.rows import (
    DEFAULT_SORT,
    WORKER_FIELDS,
    Cell,
    WorkerRow,
    event_line,
    worker_layout,
    worker_rows,
)
from miles_router.tui.screens.arranged import Arranged
from miles_router.tui.screens.table_view import TableView
from miles_router.tui.widgets.line_table import LineTable
from miles_router.tui.widgets.lines import Lines
from miles_router.tui.widgets.plot import Plot

if TYPE_CHECKING:
    from collections.abc import Hashable

    from textual.app import ComposeResult

    from miles_router.tui.rows import Layout, Line
    from miles_router.tui.screens.seen import Seen

# Lower views have either the commands that add a worker or the events below them.
EMPTY_ROOM_LINES = 18


class WorkersView(TableView[WorkerRow]):
    """See the module."""

    scope: ClassVar[Scope] = Scope.WORKERS

    def __init__(self, *, cursor_mark: str, id: str | None = None) -> None:  # noqa: A002
        arranged = Arranged(WORKER_FIELDS, DEFAULT_SORT, ("order", "attention"))
        super().__init__(arranged, LineTable(cursor_mark=cursor_mark, id="workers-table"), id=id)
        self._empty = Lines(align="middle", id="workers-empty")
        self._drawn: dict[str, tuple[Hashable, Line]] = {}  # by id: what it looked like, cells
        self._plots = (
            Plot(title="requests/s", id="plot-rate", classes="panel"),
            Plot(title="in flight", id="plot-inflight", classes="panel"),
            Plot(title="queued", id="plot-queued", classes="panel"),
        )

    def compose(self) -> ComposeResult:
        """The table, plots beside it, cache and events below it."""
        with Horizontal(id="workers-upper"):
            yield self.table
            yield self._empty
            with Vertical(id="workers-plots"):
                yield from self._plots
        with Horizontal(id="workers-lower"):
            yield Lines(title="token cache", id="workers-cache", classes="panel")
            yield Lines(title="events", id="workers-events", classes="panel")

    def selected(self) -> Selected:
        """The worker under the cursor."""
        key, seen = self.table.cursor_key, self.seen
        if key is None or seen is None or seen.snapshot is None:
            return NOTHING
        return Selected(worker=next((w for w in seen.snapshot.workers if w.id == key), None))

    def show(self, seen: Seen) -> None:
        """Draw this moment."""
        self.seen = seen
        is_empty = seen.snapshot is None or not seen.snapshot.workers
        if self._empty.display is not is_empty:
            self._empty.display, self.table.display = is_empty, not is_empty
            self.call_after_refresh(self._again)  # only then it has a width
            self.call_after_refresh(self._take_free_focus)
        self.set_class(is_empty and self.size.height < EMPTY_ROOM_LINES, "-tight")
        if is_empty:
            self._show_empty(seen)
        self.show_table(seen)
        self._show_sides(seen)

    def _take_free_focus(self) -> None:
        """A table that was hidden had no focus: without it arrow keys would do nothing."""
        if self.display and self.screen.focused is None:
            self.take_focus()

    def _show_empty(self, seen: Seen) -> None:
        width, height = self._empty.size
        if seen.snapshot is None:
            self._empty.show(
                waiting_lines(seen.link, seen.url, max(1, width), seen.now, seen.glyphs)
            )
            return
        self._empty.show(
            empty_pool_lines(
                seen.url,
                max(1, width),
                height=max(1, height),
                needs_token=seen.needs_token,
                can_add=seen.can_change,
                glyphs=seen.glyphs,
            )
        )

    def layout_of(self, width: int) -> Layout[WorkerRow]:
        """The columns that have room."""
        return worker_layout(width)

    def show_table(self, seen: Seen) -> None:
        """Draw the table alone."""
        if seen.snapshot is None:
            return
        sort, glyphs = self.arranged.sort, seen.glyphs
        rows = worker_rows(
            seen.snapshot, seen.history, sort=sort, where=self.arranged.where, glyphs=glyphs
        )
        layout = worker_layout(self.table.row_width)
        self.set_title("workers", len(rows), len(seen.snapshot.workers), seen)
        keys = [row.id for row in rows]
        if len(self._drawn) > len(rows):  # some are gone
            self._drawn.clear()
        self.show_rows(keys, lambda place: self._cells(rows[place], layout), layout, "")

    def _cells(self, row: WorkerRow, layout: Layout[WorkerRow]) -> Line:
        """Its cells, made anew only where they differ."""
        looks = (layout, row.glyphs, row.looks)
        drawn = self._drawn.get(row.id)
        if drawn is None or drawn[0] != looks:
            drawn = self._drawn[row.id] = looks, row.cells(layout)
        return drawn[1]

    def _show_sides(self, seen: Seen) -> None:
        history = seen.history
        pasts = (history.throughput, history.inflight_total, history.queued)
        if self._plots[0].size.width:  # they are shown together or not at all
            for plot, past in zip(self._plots, pasts, strict=True):
                plot.plot(past, SPAN_S, seen.glyphs)
        cache = self.query_one("#workers-cache", Lines)
        if cache.size.width and seen.snapshot is not None:
            shown = cache_lines(
                seen.snapshot.token_cache,
                cache.size.width,
                is_told=not is_partial(seen.snapshot),
                glyphs=seen.glyphs,
            )
            cache.show(shown)
        below = self.query_one("#workers-events", Lines)
        width, height = below.size
        if width and height and is_partial(seen.snapshot):
            below.show([(Cell(fmt.fit_most(NOT_SHOWN, width), "dim"),)])
        elif width and height:
            newest = seen.events[-height:]
            below.show(event_line(one, width, glyphs=seen.glyphs, tz=seen.tz) for one in newest)
