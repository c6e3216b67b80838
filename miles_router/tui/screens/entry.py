"""One event, or one line of the log, whole: with all its fields, on as many lines as it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from miles_router.tui.rows import field_lines
from miles_router.tui.screens.boxed import Boxed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miles_router.tui.glyphs import Glyphs
    from miles_router.tui.rows import Line, Pair


class EntryScreen(Boxed):
    """`fields` are its labels and values; it does not change while it is read."""

    closing_keys: ClassVar[frozenset[str]] = Boxed.closing_keys | {"enter"}

    def __init__(self, title: str, fields: Sequence[Pair], glyphs: Glyphs) -> None:
        super().__init__(title)
        self._fields, self._glyphs = fields, glyphs

    def lines(self, width: int) -> Sequence[Line]:
        """A line or more for each field."""
        return field_lines(self._fields, width, glyphs=self._glyphs)
