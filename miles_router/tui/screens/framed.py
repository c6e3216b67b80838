"""What stands around every screen: the router's line, the banner of a lost link, the footer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.screen import Screen

from miles_router.tui.panels import head_line, link_banner
from miles_router.tui.widgets.action_bar import ActionBar
from miles_router.tui.widgets.lines import Lines
from miles_router.tui.widgets.painted import TONE_CLASSES

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from miles_router.tui.screens.seen import Seen
    from miles_router.tui.widgets.action_bar import Item


class Framed(Screen[None]):
    """A screen with `#head`, `#banner` and `#footer`; it has the looks of all tones."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*TONE_CLASSES}
    keys_as_of: Hashable = None
    """The circumstances of the keys that it shows: those of equal ones are the same."""

    def show_frame(self, seen: Seen) -> None:
        """Draw the frame at this moment; the banner takes lines only while it is needed."""
        width = self.size.width
        head = head_line(
            seen.snapshot,
            seen.link,
            seen.now,
            width,
            url=seen.url,
            notes=seen.notes,
            glyphs=seen.glyphs,
        )
        self.query_one("#head", Lines).show([head])
        banner = self.query_one("#banner", Lines)
        lines = link_banner(
            seen.link,
            seen.now,
            width,
            url=seen.url,
            has_numbers=seen.snapshot is not None,
            glyphs=seen.glyphs,
        )
        if banner.display is not bool(lines):
            banner.display = bool(lines)
        if lines:
            if len(lines) != len(banner.lines):
                banner.styles.height = len(lines)
            banner.show(lines)

    def show_footer(self, items: Sequence[Item]) -> None:
        """The keys."""
        self.query_one("#footer", ActionBar).show(items)
