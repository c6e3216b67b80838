"""How numbers, times and texts are written on the screen: short and of a known width.

Pure functions without a clock. `-` stands for what is not known. What is shown is measured in cells
of the terminal, not in characters.
"""

from __future__ import annotations

import math
from datetime import datetime, tzinfo
from typing import Literal

from rich.cells import cell_len

from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs, bar, meter, spark

__all__ = [
    "ASCII",
    "UNICODE",
    "Glyphs",
    "age",
    "bar",
    "clock",
    "coarse_age",
    "count",
    "fit",
    "fit_most",
    "meter",
    "moment",
    "percent",
    "rate",
    "rough_age",
    "seconds",
    "size",
    "spark",
    "wrap",
]

UNKNOWN = "-"
Align = Literal["left", "right"]
Cut = Literal["end", "middle"]

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def count(number: float | None) -> str:
    """A count in at most five characters up to 10^18: 412, 82.4k, 999k, 1.2M."""
    if number is None or not math.isfinite(number):
        return UNKNOWN
    if number < 0:
        return "-" + count(-number)
    if number < 999.5:
        return str(round(number))
    for unit in "kMGTPE":
        number /= 1000
        if number < 99.95:
            return f"{number:.1f}{unit}"
        if number < 999.5:
            return f"{number:.0f}{unit}"
    return f"{number:.0f}E"


def rate(per_s: float | None) -> str:
    """Events per second: 0, 0.4, 3.2, 412, 82.4k."""
    if per_s is None or not math.isfinite(per_s):
        return UNKNOWN
    if 0 < per_s < 0.05:
        return "<0.1"
    return f"{per_s:.1f}" if 0 < per_s < 9.95 else count(per_s)


def size(size_bytes: float | None) -> str:
    """Bytes in powers of 1024, at most eight characters up to 1023 PiB: 512 B, 2.0 GiB."""
    if size_bytes is None or not math.isfinite(size_bytes):
        return UNKNOWN
    if size_bytes < 1023.5:
        return f"{size_bytes:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        size_bytes /= 1024
        if size_bytes < 99.95:
            return f"{size_bytes:.1f} {unit}"
        if size_bytes < 1023.5:
            return f"{size_bytes:.0f} {unit}"
    return f"{size_bytes:.0f} PiB"


def seconds(span_s: float | None) -> str:
    """A duration in at most six characters: 0.4ms, 716ms, 2.75s, 12.3s, 3m12s, 2h05m, 12d."""
    if span_s is None or not math.isfinite(span_s):
        return UNKNOWN
    span_s = max(0.0, span_s)
    if span_s < 0.00995:
        return f"{span_s * 1000:.1f}ms" if span_s else "0ms"
    if span_s < 0.9995:
        return f"{span_s * 1000:.0f}ms"
    if span_s < 9.995:
        return f"{span_s:.2f}s"
    return f"{span_s:.1f}s" if span_s < 59.95 else age(round(span_s))


def age(span_s: float | None) -> str:
    """A span in whole seconds, two units at most: 0s, 42s, 3m12s, 3h12m, 3d04h, 12d."""
    if span_s is None or not math.isfinite(span_s):
        return UNKNOWN
    whole = max(0, int(span_s))
    if whole < _MINUTE_S:
        return f"{whole}s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m{whole % _MINUTE_S:02}s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S}h{whole % _HOUR_S // _MINUTE_S:02}m"
    days = whole // _DAY_S
    return f"{days}d{whole % _DAY_S // _HOUR_S:02}h" if days < 10 else f"{days}d"


def coarse_age(span_s: float | None) -> str:
    """`age` in its largest unit alone: 42s, 3m, 3h, 12d."""
    exact = age(span_s)
    return exact[:-3] if len(exact) > 3 else exact


def rough_age(span_s: float | None) -> str:
    """`age` in steps that change seldom, for what many rows show: <10s, 50s, 3m, 3h12m, 12d.

    With exact seconds, each row of a table would have to be drawn anew each second.
    """
    exact = age(span_s)
    if span_s is None or span_s >= _HOUR_S or not math.isfinite(span_s):
        return exact
    if span_s >= _MINUTE_S:
        return exact[:-3]
    return f"{int(span_s) // 10 * 10}s" if span_s >= 10 else "<10s"


def percent(share: float | None) -> str:
    """A part of one in at most five characters: 0%, <0.1%, 3.4%, 73.4%, 100%."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    hundredths = share * 100
    if hundredths <= 0:
        return "0%"
    if hundredths < 0.05:
        return "<0.1%"
    return f"{hundredths:.1f}%" if hundredths < 99.95 else f"{hundredths:.0f}%"


def clock(unix_s: float, tz: tzinfo | None = None) -> str:
    """The time of day, 11:05:41, in `tz`; None: this machine's."""
    try:
        return f"{datetime.fromtimestamp(unix_s, tz):%H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # an attached router may send any number
        return "--:--:--"


def moment(unix_s: float, tz: tzinfo | None = None) -> str:
    """Day and time of day, 2026-08-06 11:05:41, in `tz`; None: this machine's."""
    try:
        return f"{datetime.fromtimestamp(unix_s, tz):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return UNKNOWN


def fit(
    text: str,
    width: int,
    *,
    align: Align = "left",
    cut: Cut = "end",
    glyphs: Glyphs = UNICODE,
) -> str:
    """`text` in exactly `width` cells: padded, or cut with a sign that says so.

    `text` is safe (`Glyphs.safe`), so that its cells add up. `cut="middle"` keeps both ends, for
    addresses, which differ in their last characters.
    """
    length = len(text) if text.isascii() else cell_len(text)
    if length <= width:
        padding = " " * (width - length)
        return padding + text if align == "right" else text + padding
    if width <= 0:
        return ""
    tail_width = (width - 1) // 2 if cut == "middle" else 0
    head = _head(text, width - 1 - tail_width)
    tail = _head(text[::-1], tail_width)[::-1]
    kept = head + glyphs.more + tail
    return kept + " " * (width - cell_len(kept))


def _head(text: str, width: int) -> str:
    """As many of the first characters as have room."""
    if text.isascii():
        return text[:width]
    used = 0
    for place, character in enumerate(text):
        used += cell_len(character)
        if used > width:
            return text[:place]
    return text


def wrap(text: str, width: int, most: int = 100, glyphs: Glyphs = UNICODE) -> list[str]:
    """`text` on lines of at most `width` cells, not padded; `most` lines, the last one then cut.

    `text` is safe (`Glyphs.safe`). Words longer than a line are broken where it ends.
    """
    lines = [""]
    for word in text.split():
        rest, joined = word, f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        while cell_len(rest) > width and (head := _head(rest, width)):
            lines[-1] = head
            lines.append("")
            rest = rest[len(head) :]
        lines[-1] = rest if cell_len(rest) <= width else ""
    if len(lines) > most:
        lines[most - 1 :] = [fit_most(" ".join(lines[most - 1 :]), width, glyphs)]
    return lines


def fit_most(text: str, width: int, glyphs: Glyphs = UNICODE) -> str:
    """`text` in at most `width` cells, not padded."""
    return fit(text, width, glyphs=glyphs).rstrip() if cell_len(text) > width else text
