"""The characters that are drawn with: one set for any terminal with Unicode, one of ASCII alone.

Each glyph is one cell wide. What others wrote (URLs, reasons, log lines) goes through `safe` before
it is drawn: no worker and no client can steer the terminal or shift a column with it. This file
knows no colour and nothing of what is shown.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CROSS = "\N{MULTIPLICATION SIGN}"
# Signs that terminals join with their neighbours, each in its own way: flags, skin tones.
_JOINING = re.compile("[\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff]")


@dataclass(frozen=True, slots=True, eq=False)
class Glyphs:
    """One set of characters. `sparks` and `blocks` rise; `bars` fill one cell from the left."""

    is_ascii: bool
    states: Mapping[str, str]  # by the words of `core.lifecycle.State`
    requests: Mapping[str, str]  # by the words of `RequestView.state`
    levels: Mapping[str, str]  # "quiet", "good", "warn", "bad"
    links: Mapping[str, str]  # by the words of `tui.source.LinkState`
    sparks: str  # the first is for zero, the others for what is more
    blocks: str  # a column of a plot that fills one more part of a cell
    bars: str
    full: str
    empty: str
    cursor: str
    more: str  # stands for what is cut off
    dot: str  # between two things on one line
    rising: str
    falling: str
    axis: str
    tick: str
    attention: str = "!"
    unknown: str = field(default=" ")
    zero: str = "_"  # on the floor of a plot, thinner than the least of `blocks`

    def safe(self, text: str) -> str:
        """`text` with everything escaped that is not one visible character of its own.

        Control characters of both sets, line ends, changes of direction, joiners and characters
        without a width become escapes such as `\\x1b`; with the ASCII set, all that is not ASCII.
        The cells of what is left add up: it can be cut anywhere.
        """
        if text.isascii():
            return text if text.isprintable() else "".join(map(_escape_control, text))
        return "".join(map(_escape_beyond if self.is_ascii else _escape_control, text))


def _escape_control(character: str) -> str:
    if character.isascii():
        is_plain = character.isprintable()
    else:
        is_plain = (
            character.isprintable()
            and cell_len(character) > 0
            and _JOINING.match(character) is None
        )
    return character if is_plain else ascii(character)[1:-1]


def _escape_beyond(character: str) -> str:
    is_plain = character.isascii() and character.isprintable()
    return character if is_plain else ascii(character)[1:-1]


UNICODE = Glyphs(
    is_ascii=False,
    states={
        "joining": "…",
        "active": "●",
        "suspect": "◐",
        "quarantined": _CROSS,
        "probation": "○",
        "stale": "~",
        "draining": "▽",
        "drained": "□",
        "removed": " ",
    },
    requests={
        "reading": "◂",
        "queued": "…",
        "generating": "●",
        "answering": "▸",
        "aborting": _CROSS,
    },
    levels={"quiet": "·", "good": "✓", "warn": "!", "bad": _CROSS},
    links={"waiting": "…", "live": "●", "silent": "◐", "lost": _CROSS},
    sparks="▁▂▃▄▅▆▇█",
    blocks="▁▂▃▄▅▆▇█",
    bars="▏▎▍▌▋▊▉█",
    full="█",
    empty="░",
    cursor="▌",
    more="…",
    dot="·",
    rising="▲",
    falling="▼",
    axis="│",
    tick="┤",
)

ASCII = Glyphs(
    is_ascii=True,
    states={
        "joining": ".",
        "active": "*",
        "suspect": "?",
        "quarantined": "X",
        "probation": "o",
        "stale": "~",
        "draining": "v",
        "drained": "_",
        "removed": " ",
    },
    requests={"reading": "<", "queued": ".", "generating": "*", "answering": ">", "aborting": "X"},
    levels={"quiet": ".", "good": "+", "warn": "!", "bad": "X"},
    links={"waiting": ".", "live": "*", "silent": "?", "lost": "X"},
    sparks="_.:-=+*#",
    blocks=".:#",
    bars="#",
    full="#",
    empty="-",
    cursor=">",
    more="~",
    dot="-",
    rising="^",
    falling="v",
    axis="|",
    tick="+",
)


def spark(values: Sequence[float], width: int, top: float, glyphs: Glyphs) -> str:
    """`values`, oldest first, as a line of `width` cells; full height is `top`.

    Rows that are given the same `top` compare. NaN is what nobody knows and leaves a gap; zero has
    a glyph of its own. Fewer values than cells stand at the right; of more, the newest are shown:
    `History` resamples.
    """
    rising = glyphs.sparks
    steps = len(rising) - 1
    scale = steps / top if top > 0 else math.inf
    drawn = []
    for value in values[-width:] if width > 0 else ():
        if value != value:  # noqa: PLR0124  NaN; a call of isnan costs more than the rest
            drawn.append(glyphs.unknown)
        elif value <= 0:
            drawn.append(rising[0])
        else:
            step = value * scale
            drawn.append(rising[max(1, math.ceil(step)) if step < steps else steps])
    return "".join(drawn).rjust(width)


def meter(share: float | None, width: int, glyphs: Glyphs) -> str:
    """How much of a budget is used, `width` cells; more than nothing shows, full means full."""
    if share is None or math.isnan(share):
        return glyphs.unknown * width
    cells = round(min(1.0, max(0.0, share)) * width)
    if 0 < share < 1:
        cells = min(max(cells, 1), max(1, width - 1))
    cells = min(cells, width)
    return glyphs.full * cells + glyphs.empty * (width - cells)


def bar(share: float, width: int, glyphs: Glyphs) -> str:
    """A bar on an empty ground, `width` cells, as fine as the set's `bars` are."""
    parts = len(glyphs.bars)
    filled = round(min(1.0, max(0.0, share)) * width * parts)
    if share > 0:
        filled = max(1, filled)
    whole, rest = divmod(min(filled, width * parts), parts)
    drawn = glyphs.bars[-1] * whole + (glyphs.bars[rest - 1] if rest else "")
    return drawn.ljust(width)
