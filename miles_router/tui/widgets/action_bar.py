"""One line of keys and words that can be clicked: the footer and the tabs.

An item that is not available is drawn dim; a click on it says why, as its key does. What has no
room at the right is left out whole, so that no word is cut in half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.message import Message
from textual.strip import Strip

from miles_router.tui.widgets.painted import Painted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events


@dataclass(frozen=True, slots=True)
class Item:
    """One action on the bar."""

    action_id: str
    key: str
    label: str
    is_available: bool = True
    is_active: bool = False

    @property
    def width(self) -> int:
        """Cells it takes, with a blank on either side."""
        return cell_len(self.key) + cell_len(self.label) + 3


class ActionBar(Painted):
    """See the module."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"bar--key", "bar--label", "bar--off", "bar--active"}

    class Clicked(Message):
        """An item was clicked."""

        def __init__(self, action_id: str) -> None:
            super().__init__()
            self.action_id = action_id

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._items: tuple[Item, ...] = ()

    @property
    def items(self) -> tuple[Item, ...]:
        """All items, also those that have no room."""
        return self._items

    def show(self, items: Sequence[Item]) -> None:
        """Put `items` in place of those that are shown."""
        fresh = tuple(items)
        if fresh != self._items:
            self._items = fresh
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Say which item it was."""
        left = 0
        for item in self._items:
            if left <= event.x < left + item.width <= self.size.width:
                self.post_message(self.Clicked(item.action_id))
                return
            left += item.width

    def render_line(self, y: int) -> Strip:
        """Textual's Line API."""
        width = self.size.width
        if y:
            return Strip.blank(width, self.plain_style)
        segments, used = [], 0
        for item in self._items:
            used += item.width
            if used > width:
                break
            segments += self._segments(item)
        return Strip(segments).adjust_cell_length(width, self.plain_style)

    def _segments(self, item: Item) -> list[Segment]:
        style = self.get_component_rich_style
        label = "bar--active" if item.is_active else "bar--label"
        if not item.is_available:
            return [Segment(f" {item.key} {item.label} ", style("bar--off"))]
        if item.is_active:
            return [Segment(f" {item.key} {item.label} ", style(label))]
        return [
            Segment(f" {item.key} ", style("bar--key")),
            Segment(f"{item.label} ", style(label)),
        ]
