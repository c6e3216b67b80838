"""Lines that come in at the end, as of a log: it stays at the newest until someone scrolls up.

Whoever reads further up keeps the lines under their eyes when new ones come and old ones fall out:
lines are known by their sequence numbers, which grow.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, ClassVar, cast

from miles_router.tui.widgets.scroll_lines import ScrollLines, moving_bindings

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from textual.binding import BindingType
    from textual.strip import Strip

    from miles_router.tui.widgets.painted import Toned


class Tail(ScrollLines, can_focus=True, inherit_bindings=False):
    """See the module."""

    BINDINGS: ClassVar[list[BindingType]] = moving_bindings()

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._seqs: Sequence[int] = ()
        self._cells: Callable[[int], Sequence[Toned]] = lambda _row: ()

    @property
    def follows(self) -> bool:
        """Whether the newest line is in view."""
        return self.top_row + self.page_rows >= self.row_count

    def show(self, seqs: Sequence[int], cells: Callable[[int], Sequence[Toned]]) -> None:
        """The lines by their numbers, oldest first; `cells(row)` is asked of lines in view."""
        follows = self.follows
        top_seq = self._seqs[self.top_row] if self._seqs and not follows else None
        self._seqs, self._cells = seqs, cells
        self.set_row_count(len(seqs))
        if top_seq is None:
            self._go(len(seqs))
        else:
            self._go(bisect_left(seqs, top_seq))
        self.update_lines()

    def on_resize(self) -> None:
        """A tail that followed still does."""
        super().on_resize()
        self._go(self.row_count)

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
        """The oldest line, or, with -1, the newest."""
        self._go(row if row >= 0 else self.row_count)

    def content(self, row: int) -> Hashable:
        """The cells."""
        return tuple(self._cells(row))

    def paint(self, content: Hashable, width: int) -> Strip:
        """One line."""
        return self.strip_of(cast("tuple[Toned, ...]", content), width)
