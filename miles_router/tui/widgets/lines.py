"""A few lines of cells in a widget whose size is given by the style sheet.

Only lines that changed are drawn again, and new lines never cause a layout: a widget that is too
small shows fewer of them. A line that is too long is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from textual.geometry import Region
from textual.strip import Strip

from miles_router.tui.widgets.painted import Painted, width_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from miles_router.tui.widgets.painted import Toned


class Lines(Painted):
    """Shows what it is given; `align` is where lines and the block of them stand.

    `title` stands in its frame, if the style sheet gives it one.
    """

    def __init__(
        self,
        *,
        title: str = "",
        align: Literal["left", "middle"] = "left",
        id: str | None = None,  # noqa: A002  Textual's name
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.border_title = title
        self._align = align
        self._lines: tuple[tuple[Toned, ...], ...] = ()

    @property
    def lines(self) -> tuple[tuple[Toned, ...], ...]:
        """What is shown."""
        return self._lines

    def show(self, lines: Iterable[Sequence[Toned]]) -> None:
        """Put `lines` in place of those that are shown."""
        fresh = tuple(tuple(line) for line in lines)
        old = self._lines
        if fresh == old:
            return
        self._lines = fresh
        if len(fresh) != len(old):
            self.refresh()
            return
        top, width = self._top(), self.size.width
        dirty = [y for y, (one, other) in enumerate(zip(fresh, old, strict=True)) if one != other]
        self.refresh(*(Region(0, top + y, width, 1) for y in dirty))

    def _top(self) -> int:
        if self._align == "middle":
            return max(0, (self.size.height - len(self._lines)) // 2)
        return 0

    def render_line(self, y: int) -> Strip:
        """Textual's Line API: line `y` of the widget."""
        width = self.size.width
        index = y - self._top()
        if not 0 <= index < len(self._lines):
            return Strip.blank(width, self.plain_style)
        line = self._lines[index]
        if self._align == "middle":
            left = max(0, (width - width_of(line)) // 2)
            strip = self.strip_of(line, max(0, width - left))
            return Strip.join([Strip.blank(left, self.plain_style), strip])
        return self.strip_of(line, width)
