"""The help: every key, what it does, and why it does nothing at the moment.

It is made of the registry of actions, those of the view it was opened from first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from miles_router.tui import format as fmt
from miles_router.tui.rows import Cell
from miles_router.tui.screens.boxed import Boxed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from miles_router.tui.actions import HelpRow
    from miles_router.tui.glyphs import Glyphs
    from miles_router.tui.rows import Line, Tone
    from miles_router.tui.screens.legend import Note

_GAP = 2


class HelpScreen(Boxed):
    """`reasons`: for ids of actions that are not available, why; `notes` stand below the keys."""

    most_width: ClassVar[int] = 110
    closing_keys: ClassVar[frozenset[str]] = Boxed.closing_keys | {"question_mark", "f1"}

    def __init__(
        self,
        rows: Sequence[HelpRow],
        reasons: Mapping[str, str],
        notes: Sequence[Note],
        glyphs: Glyphs,
    ) -> None:
        super().__init__("Help")
        self._rows, self._reasons, self._notes, self._glyphs = rows, reasons, notes, glyphs

    def lines(self, width: int) -> Sequence[Line]:
        """All of it."""
        return help_lines(self._rows, self._reasons, self._notes, width, self._glyphs)


def help_lines(
    rows: Sequence[HelpRow],
    reasons: Mapping[str, str],
    notes: Sequence[Note],
    width: int,
    glyphs: Glyphs,
) -> list[Line]:
    """Keys, words and what they mean side by side, in lines of at most `width` cells."""
    words = [row.label for row in rows if row.id] + [
        word for _, pairs in notes for word, _ in pairs
    ]
    columns = (max((len(row.keys) for row in rows), default=0), max(map(len, words), default=0))
    lines: list[Line] = []
    for row in rows:
        if not row.id:
            lines += _heading(row.label, columns[0], is_first=not lines)
            continue
        reason = reasons.get(row.id, "")
        says = f"{row.help} Not now: {reason}." if reason else row.help
        tone: Tone = "dim" if reason else ""
        cells = (row.keys, row.label, glyphs.safe(says))
        lines += _row(cells, columns, width, tone, glyphs)
    for heading, pairs in notes:
        lines += _heading(heading, columns[0], is_first=not lines)
        for word, means in pairs:
            lines += _row(("", word, means), columns, width, "", glyphs)
    return lines


def _heading(text: str, indent: int, *, is_first: bool) -> Iterator[Line]:
    if not is_first:
        yield ()
    yield (Cell(" " * (indent + _GAP) + text, "accent"),)


def _row(
    cells: tuple[str, str, str], columns: tuple[int, int], width: int, tone: Tone, glyphs: Glyphs
) -> Iterator[Line]:
    keys, word, says = cells
    key_width, word_width = (column + _GAP for column in columns)
    room = max(1, width - key_width - word_width)
    for place, text in enumerate(fmt.wrap(says, room, glyphs=glyphs)):
        key, label = ("", "") if place else (keys, word)
        key_cell = Cell(key.ljust(key_width), tone or "accent")
        yield (key_cell, Cell(label.ljust(word_width), tone), Cell(text, tone))
