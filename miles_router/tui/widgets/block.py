"""Lines that can be scrolled where they have too little room, without a cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from miles_router.tui.widgets.scroll_lines import ScrollLines, moving_bindings

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from textual.binding import BindingType
    from textual.strip import Strip

    from miles_router.tui.widgets.painted import Toned


class Block(ScrollLines, can_focus=True, inherit_bindings=False):
    """See the module."""

    BINDINGS: ClassVar[list[BindingType]] = moving_bindings()

    def __init__(self, *, title: str = "", id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.border_title = title
        self._lines: tuple[tuple[Toned, ...], ...] = ()

    def show(self, lines: Iterable[Sequence[Toned]]) -> None:
        """Put `lines` in place of those that are shown; what is in view stays."""
        self._lines = tuple(tuple(line) for line in lines)
        self.set_row_count(len(self._lines))
        self._go(self.top_row)
        self.update_lines()

    def _go(self, row: int) -> None:
        row = max(0, min(row, self.row_count - self.page_rows))
        if row != self.top_row:
            self.scroll_to(y=row, animate=False, immediate=True)

    def action_move(self, step: int) -> None:
        """Some lines up or down."""
        self._go(self.top_row + step)

    def action_move_page(self, step: int) -> None:
        """A window up or down."""
        self._go(self.top_row + step * max(1, self.page_rows - 1))

    def action_move_to(self, row: int) -> None:
        """The first line, or, with -1, the last."""
        self._go(row if row >= 0 else self.row_count)

    def content(self, row: int) -> Hashable:
        """The cells."""
        return self._lines[row]

    def paint(self, content: Hashable, width: int) -> Strip:
        """One line."""
        return self.strip_of(cast("tuple[Toned, ...]", content), width)
