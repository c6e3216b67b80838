"""A box in front of the screen with lines to be read: wrapped to its width, scrolled where long.

Lines are made before they are drawn, and once for each width: a table of Textual's or rich's is
rendered anew for each measure, which took 0.3 s for the help, against 0.08 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Vertical
from textual.geometry import Size
from textual.screen import ModalScreen

from miles_router.tui.widgets.block import Block
from miles_router.tui.widgets.painted import TONE_CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import ComposeResult

    from miles_router.tui.rows import Line

# Borders and blanks of the box, and the track of the scroll bar.
_AROUND_WIDTH, _AROUND_HEIGHT = 7, 4
_PART = 0.96  # of the screen that it takes at most, as the style sheet says of every box


class Boxed(ModalScreen[None]):
    """Subclasses say what is read, at most how wide it is, and which keys close it."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*TONE_CLASSES}
    AUTO_FOCUS: ClassVar[str | None] = "#box-lines"
    most_width: ClassVar[int] = 100
    closing_keys: ClassVar[frozenset[str]] = frozenset({"escape", "q"})

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._laid_out = Size(0, 0)

    def lines(self, width: int) -> Sequence[Line]:
        """What is read, on lines of at most `width` cells."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """The box."""
        box = Vertical(Block(id="box-lines"), classes="box")
        box.border_title = self._title
        box.border_subtitle = "Esc closes, arrows scroll"
        yield box

    def on_mount(self) -> None:
        """Show the lines."""
        self._lay_out()

    def on_resize(self) -> None:
        """They may be wrapped in another way."""
        self._lay_out()

    def _lay_out(self) -> None:
        size = self.app.size
        if size == self._laid_out:
            return
        self._laid_out = size
        width = max(1, min(self.most_width, int(size.width * _PART)))
        shown = self.lines(max(1, width - _AROUND_WIDTH))
        box = self.query_one(".box")
        box.styles.width = width
        box.styles.height = min(len(shown) + _AROUND_HEIGHT, int(size.height * _PART))
        self.query_one(Block).show(shown)

    def on_key(self, event: events.Key) -> None:
        """Keys that close it."""
        if event.key in self.closing_keys:
            event.stop()
            self.dismiss()
