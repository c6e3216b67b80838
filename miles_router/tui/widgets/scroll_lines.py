"""Many lines in a window: only those in view are formatted, only changed ones are drawn again.

Textual lays the whole screen out when the size of a widget's content changes. The number of lines
changes many times a second, so it is set past Textual's reactive, and the scroll bar is always
there (its track is invisible while everything fits): nothing here causes a layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from miles_router.tui.actions import Scope, actions_in
from miles_router.tui.widgets.painted import Painted

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from miles_router.tui.widgets.painted import Toned


# What the keys for lists do to one.
_MOVES = {
    "up": "move(-1)",
    "down": "move(1)",
    "page_up": "move_page(-1)",
    "page_down": "move_page(1)",
    "first": "move_to(0)",
    "last": "move_to(-1)",
}


def moving_bindings() -> list[BindingType]:
    """For a list with the actions `move`, `move_page` and `move_to`: the registry's keys."""
    return [
        Binding(one.key, _MOVES[one.id], one.label, show=False, id=one.id)
        for one in actions_in(Scope.LISTS)
    ]


class ScrollLines(ScrollView, Painted):
    """Subclasses say what stands in a row and how it is painted."""

    DEFAULT_CSS = """
    ScrollLines {
        height: 1fr;
        width: 1fr;
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
    }
    """
    HEAD_LINES = 0  # lines at the top that do not scroll

    class Opened(Message):
        """A row was opened by a double click."""

        def __init__(self, opened: ScrollLines) -> None:
            super().__init__()
            self.opened = opened

        @property
        def control(self) -> ScrollLines:
            """The list, for `@on` selectors."""
            return self.opened

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._row_count = 0
        self._note: tuple[Toned, ...] = ()
        self._contents: dict[int, Hashable] = {}

    def content(self, row: int) -> Hashable:
        """All that decides how row `row` looks; equal content is not drawn again."""
        raise NotImplementedError

    def paint(self, content: Hashable, width: int) -> Strip:
        """The line of a row with this `content`."""
        raise NotImplementedError

    def head(self, width: int) -> Strip:
        """The line that does not scroll."""
        raise NotImplementedError

    @property
    def row_count(self) -> int:
        """Rows there are."""
        return self._row_count

    @property
    def page_rows(self) -> int:
        """Rows that fit in the window."""
        return max(1, self.scrollable_content_region.height - self.HEAD_LINES)

    @property
    def top_row(self) -> int:
        """The first row in view."""
        return round(self.scroll_y)

    def set_row_count(self, count: int) -> None:
        """How many rows there are, without a layout."""
        if count == self._row_count:
            return
        self._row_count = count
        self.set_reactive(ScrollView.virtual_size, Size(self.size.width, count + self.HEAD_LINES))
        if self.is_attached:
            self._scroll_update(self.virtual_size)

    def tell(self, note: Sequence[Toned]) -> None:
        """Say `note` while there is no row: why there is none."""
        fresh = tuple(note)
        if fresh != self._note:
            self._note = fresh
            self.refresh()

    def update_lines(self) -> None:
        """Draw again the lines in view whose content changed."""
        height = self.scrollable_content_region.height
        top = self.top_row - self.HEAD_LINES
        fresh = {
            y: self.content(top + y)
            for y in range(self.HEAD_LINES, height)
            if top + y < self._row_count
        }
        if fresh == self._contents:
            return
        width = self.scrollable_content_region.width
        dirty = [
            Region(0, y, width, 1)
            for y in range(self.HEAD_LINES, height)
            if fresh.get(y) != self._contents.get(y)
        ]
        self._contents = fresh
        self.refresh(*dirty)

    def redraw(self) -> None:
        """Draw everything again: the way content is painted changed."""
        self._contents = {}
        self.refresh()

    def show_row(self, row: int) -> None:
        """Scroll as little as brings `row` into view."""
        top, page = self.top_row, self.page_rows
        if row < top:
            self.scroll_to(y=row, animate=False, immediate=True)
        elif row >= top + page:
            self.scroll_to(y=row - page + 1, animate=False, immediate=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Lines moved: what is known of them is void."""
        if round(old_value) != round(new_value):
            self._contents = {}
        super().watch_scroll_y(old_value, new_value)

    def on_resize(self) -> None:
        """Other lines are in view."""
        self._contents = {}
        self.set_reactive(
            ScrollView.virtual_size, Size(self.size.width, self._row_count + self.HEAD_LINES)
        )
        self._scroll_update(self.virtual_size)

    def notify_style_update(self) -> None:
        """The theme changed: the same content looks different."""
        self._contents = {}
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        """Textual's Line API: line `y` of the window."""
        width = self.scrollable_content_region.width
        if y < self.HEAD_LINES:
            return self.head(width)
        row = self.top_row + y - self.HEAD_LINES
        if row == 0 and not self._row_count:
            return self.strip_of(self._note, width)
        if row >= self._row_count:
            return Strip.blank(width, self.plain_style)
        content = self._contents.get(y)
        if content is None:
            content = self._contents[y] = self.content(row)
        return self.paint(content, width)
