"""Makes ASCII of every line that is drawn, whoever drew it: Textual's own parts too.

What this project draws is ASCII already where a user wants that (see `glyphs`); scroll bars, the
frames of messages and of the command palette are Textual's, who knows no such wish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from textual.filter import LineFilter

if TYPE_CHECKING:
    from textual.color import Color

_PLAIN = str.maketrans(
    {
        **dict.fromkeys("─━═▁▔▂▃▄▀🭶", "-"),
        **dict.fromkeys("│┃║▌▐▎▏▍▊▋▕▉", "|"),
        **dict.fromkeys("╭╮╰╯┌┐└┘┏┓┗┛╔╗╚╝┤├┬┴┼", "+"),
        **dict.fromkeys("█▅▆▇", "#"),
        **dict.fromkeys("░▒▓", ":"),
        **dict.fromkeys("•·●", "*"),
        "…": "~",
        "✓": "+",
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{NO-BREAK SPACE}": " ",
    }
)
_UNKNOWN = "?"


class AsciiFilter(LineFilter):
    """Puts an ASCII character in each cell; the cells of a line stay as many as they were."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """`segments` with other characters where theirs are not ASCII."""
        del background
        return [
            segment
            if segment.text.isascii()
            else Segment(plain(segment.text), segment.style, segment.control)
            for segment in segments
        ]


def plain(text: str) -> str:
    """`text` in ASCII, as many cells wide; what has no likeness becomes question marks."""
    alike = text.translate(_PLAIN)
    if alike.isascii():
        return alike
    return "".join(one if one.isascii() else _UNKNOWN * cell_len(one) for one in alike)
