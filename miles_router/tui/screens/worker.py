"""One worker: its fields, what happened to it, and its running requests by age."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.containers import Horizontal

from miles_router.tui.actions import Scope
from miles_router.tui.availability import Selected
from miles_router.tui.names import NOT_SHOWN, is_partial
from miles_router.tui.panels import detail_lines
from miles_router.tui.rows import (
    REQUEST_FIELDS,
    REQUEST_SORT,
    Cell,
    event_line,
    request_layout,
    request_rows,
)
from miles_router.tui.screens.arranged import Arranged
from miles_router.tui.screens.framed import Framed
from miles_router.tui.widgets.action_bar import ActionBar
from miles_router.tui.widgets.block import Block
from miles_router.tui.widgets.line_table import LineTable
from miles_router.tui.widgets.lines import Lines
from miles_router.tui.widgets.tail import Tail
from miles_router.tui.widgets.titled import set_title

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from miles_router.core.events import Event
    from miles_router.core.snapshot import RequestView, Snapshot, WorkerView
    from miles_router.tui.screens.seen import Seen


class WorkerScreen(Framed, inherit_bindings=False):
    """See the module. What the last snapshot said stays when the worker is gone."""

    scope: ClassVar[Scope] = Scope.WORKER

    AUTO_FOCUS: ClassVar[str | None] = "#worker-requests"

    def __init__(self, worker_id: str, view: WorkerView | None = None, *, cursor_mark: str) -> None:
        """`view` is what is known of the worker before the first `show`."""
        super().__init__()
        self.worker_id = worker_id
        self._arranged = Arranged(REQUEST_FIELDS, REQUEST_SORT)
        self._table = LineTable(cursor_mark=cursor_mark, id="worker-requests")
        self._events = Tail(cursor_mark=cursor_mark, id="worker-events")
        self._fields = Block(title="worker", id="worker-fields")
        self._own_events: list[Event] = []
        self._events.border_title = "its events"
        self._view = view
        self._requests: tuple[RequestView, ...] = ()
        self._seen: Seen | None = None

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield Lines(id="head")
        yield Lines(id="banner")
        with Horizontal(id="worker-upper"):
            yield self._fields
            yield self._events
        yield self._table
        yield ActionBar(id="footer")

    def selected(self) -> Selected:
        """The worker, the request under the cursor, and, while its events have the keys, the event
        under theirs."""
        row = self._events.cursor_row if self.focused is self._events else None
        event = None if row is None else self._own_events[row]
        key = self._table.cursor_key
        found = next((one for one in self._requests if one.request_id == key), None)
        return Selected(worker=self._view, request=found, event=event)

    def show(self, seen: Seen) -> None:
        """Draw this moment."""
        self._seen = seen
        self.show_frame(seen)
        snapshot = seen.snapshot
        if snapshot is None:
            return
        self._view = next((one for one in snapshot.workers if one.id == self.worker_id), None)
        fields, size = self._fields, self._fields.scrollable_content_region
        width = size.width
        if self._view is None:
            gone = f"{seen.glyphs.attention} the router does not have this worker any more"
            fields.show([(Cell(gone, "warn"),)])
        elif width:
            fields.show(
                detail_lines(
                    self._view, seen.history, width, height=size.height, glyphs=seen.glyphs
                )
            )
        self._show_events(seen)
        self._show_requests(snapshot, seen)

    def _show_events(self, seen: Seen) -> None:
        width = self._events.row_width
        own = self._own_events = [
            event for event in seen.events if event.worker_id == self.worker_id
        ]
        is_told = not is_partial(seen.snapshot)
        note = "nothing has happened to it yet" if is_told else NOT_SHOWN
        self._events.tell((Cell(f" {note}", "dim"),))
        self._events.show(
            [event.seq for event in own],
            lambda place: event_line(own[place], width, glyphs=seen.glyphs, tz=seen.tz),
        )

    def _show_requests(self, snapshot: Snapshot, seen: Seen) -> None:
        focus = snapshot.focus
        if focus is not None and focus.worker_id == self.worker_id:
            self._requests = focus.requests
        else:  # its own list is asked for; until it comes, those among the router's oldest
            self._requests = tuple(
                one for one in snapshot.requests if one.worker_id == self.worker_id
            )
        sort, glyphs = self._arranged.sort, seen.glyphs
        rows = request_rows(snapshot, requests=self._requests, sort=sort, glyphs=glyphs)
        layout = request_layout(self._table.row_width)
        set_title(self._table, self._arranged.title("its requests", len(rows), len(rows), glyphs))
        note = NOT_SHOWN if is_partial(snapshot) else "no request is running on it"
        self._table.tell((Cell(f" {note}", "dim"),))
        self._table.show(
            [row.id for row in rows],
            lambda place: rows[place].cells(layout),
            layout.header(sort, glyphs) if rows else (),
        )

    @on(LineTable.HeadClicked)
    def _head_clicked(self, event: LineTable.HeadClicked) -> None:
        event.stop()
        self._arranged.head_clicked(event.x, request_layout(self._table.row_width))
        if self._seen is not None:
            self.show(self._seen)
