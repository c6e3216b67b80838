"""The screen with the six views: head, tabs, totals, the view, and the keys below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.containers import Container

from miles_router.tui.filters import FilterError
from miles_router.tui.panels import tiles
from miles_router.tui.screens.cache import TokenCacheView
from miles_router.tui.screens.framed import Framed
from miles_router.tui.screens.requests import RequestsView
from miles_router.tui.screens.tails import EventsView, LogView
from miles_router.tui.screens.totals import TotalsView
from miles_router.tui.screens.workers import WorkersView
from miles_router.tui.widgets.action_bar import ActionBar, Item
from miles_router.tui.widgets.filter_bar import FilterBar
from miles_router.tui.widgets.lines import Lines
from miles_router.tui.widgets.tile_row import TileRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

    from miles_router.tui.actions import Scope
    from miles_router.tui.availability import Selected
    from miles_router.tui.screens.seen import Seen
    from miles_router.tui.screens.view import View

VIEWS = ("workers", "requests", "cache", "events", "log", "totals")


class MainScreen(Framed, inherit_bindings=False):
    """See the module. Tab goes to the next view: a view has one part that takes keys."""

    AUTO_FOCUS: ClassVar[str | None] = "#workers-table"

    def __init__(self, *, cursor_mark: str) -> None:
        super().__init__()
        self._views: dict[str, View] = {
            "workers": WorkersView(cursor_mark=cursor_mark, id="view-workers"),
            "requests": RequestsView(cursor_mark=cursor_mark, id="view-requests"),
            "cache": TokenCacheView(cursor_mark=cursor_mark, id="view-cache"),
            "events": EventsView(cursor_mark=cursor_mark, id="view-events"),
            "log": LogView(cursor_mark=cursor_mark, id="view-log"),
            "totals": TotalsView(id="view-totals"),
        }
        # What stood in the bar, and the filter in force then, where it was left half typed.
        self._drafts: dict[str, tuple[str, str | None]] = {}
        self._active = VIEWS[0]
        self._show_active()

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield Lines(id="head")
        yield ActionBar(id="tabs")
        yield Lines(id="banner")
        yield TileRow(id="tiles")
        with Container(id="views"):
            yield from self._views.values()
        yield FilterBar(id="filter")
        yield ActionBar(id="footer")

    @property
    def view(self) -> View:
        """The view that is shown."""
        return self._views[self._active]

    @property
    def active(self) -> str:
        """Its word, one of `VIEWS`."""
        return self._active

    @property
    def scope(self) -> Scope:
        """Where keys are pressed."""
        return self.view.scope

    @property
    def filter_bar(self) -> FilterBar:
        """Where a filter is typed."""
        return self.query_one(FilterBar)

    def selected(self) -> Selected:
        """What is under the cursor."""
        return self.view.selected()

    def go_to(self, name: str) -> None:
        """Show another view. A filter that is being typed stays where it was typed.

        What it matches is in force already; what is no filter yet stands there when it is opened
        again.
        """
        bar = self.filter_bar
        if bar.display:
            bar.display = False
            self._drafts[self._active] = (bar.text, self.view.filter_text)
        self._active = name
        self._show_active()
        self.view.take_focus()

    def _show_active(self) -> None:
        for word, view in self._views.items():
            view.display = word == self._active

    def go_on(self, step: int) -> None:
        """Show the next view, or the one before."""
        place = VIEWS.index(self._active) + step
        self.go_to(VIEWS[place % len(VIEWS)])

    def show(self, seen: Seen) -> None:
        """Draw this moment."""
        self.show_frame(seen)
        if seen.snapshot is not None:
            row = self.query_one(TileRow)
            row.tell(tiles(seen.snapshot, seen.history, seen.glyphs), seen.glyphs)
        self.view.show(seen)

    def show_tabs(self, items: Sequence[Item]) -> None:
        """The names of the views with their keys."""
        self.query_one("#tabs", ActionBar).show(items)

    def open_filter(self) -> None:
        """Let the user type a filter, or go on with one."""
        before = self.view.filter_text
        text, was_in_force = self._drafts.pop(self._active, ("", None))
        text = text if before == was_in_force else before
        self.filter_bar.open(text, before)
        if text != before:
            self._filter(text)

    @on(FilterBar.Typed)
    def _filter_typed(self, event: FilterBar.Typed) -> None:
        event.stop()
        self._filter(event.text)

    @on(FilterBar.Entered)
    def _filter_entered(self, event: FilterBar.Entered) -> None:
        """One that is wrong stays where it can be mended."""
        event.stop()
        if self._filter(event.text):
            self.filter_bar.close(event.text)

    @on(FilterBar.Closed)
    def _filter_closed(self, event: FilterBar.Closed) -> None:
        event.stop()
        self._filter(event.text)
        self.view.take_focus()

    def _filter(self, text: str) -> bool:
        """Filter by `text`; if it is none, by what was there before, not by what it began with."""
        try:
            self.view.set_filter(text)
        except FilterError as error:
            self.filter_bar.tell(str(error))
            self.view.set_filter(self.filter_bar.before)
            return False
        self.filter_bar.tell("")
        return True
