"""What the six views have in common: they are shown a moment, and something may be under a cursor.

A view that has a table or lines can be filtered; one with a table can be sorted. What it cannot do
it says with a sentence, which the screen shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Container

from miles_router.tui.availability import NOTHING, Selected

if TYPE_CHECKING:
    from miles_router.tui.actions import Scope
    from miles_router.tui.screens.seen import Seen


class View(Container):
    """One view; subclasses fill it."""

    scope: ClassVar[Scope]
    can_filter: ClassVar[bool] = False

    @property
    def filter_text(self) -> str:
        """The filter that is in force."""
        return ""

    def show(self, seen: Seen) -> None:
        """Draw this moment."""
        raise NotImplementedError

    def selected(self) -> Selected:
        """What is under the cursor."""
        return NOTHING

    def set_filter(self, text: str) -> None:
        """Show only what matches.

        Raises:
            FilterError: `text` is no filter; the old one stays in force.
        """
        raise NotImplementedError

    def sort_next(self) -> str:
        """Sort by the next column; its title, empty if there is nothing to sort."""
        return ""

    def reverse(self) -> bool:
        """Turn the order round; False if there is nothing to sort."""
        return False

    def take_focus(self) -> None:
        """Give the focus to the part that keys are for."""
