"""A picture of a screen as a small SVG: one line of text per line of the terminal.

Textual's own pictures hold fonts, clip paths and random ids, ten times as much, and tell nothing
more. These are compared with stored files, and can be looked at.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.color_triplet import ColorTriplet

if TYPE_CHECKING:
    from rich.style import Style
    from textual.app import App

CELL_WIDTH, LINE_HEIGHT = 12, 24.4
GROUND = ColorTriplet(0, 0, 0)


def picture_of(app: App) -> str:
    """The screen that `app` shows."""
    looks: dict[str, str] = {}
    lines: list[str] = []
    width, height = app.size
    for y, strip in enumerate(app.screen._compositor.render_strips()):
        grounds, texts, x = [], [], 0
        for text, style, _ in strip.simplify():
            cells = cell_len(text)
            fore, ground, extra = _colours(style)
            if ground is not None:
                grounds.append((x, cells, ground.hex))
            if text.strip() or extra:
                look = f"fill:{fore.hex}{extra}"
                name = looks.setdefault(look, f"s{len(looks)}")
                length = f'textLength="{_x(cells)}"' if text.strip() else ""
                texts.append(f'<tspan class="{name}" x="{_x(x)}" {length}>{escape(text)}</tspan>')
            x += cells
        top = f"{y * LINE_HEIGHT:.1f}"
        lines += [
            f'<rect x="{_x(left)}" y="{top}" width="{_x(cells)}" height="24.6" fill="{colour}"/>'
            for left, cells, colour in _joined(grounds)
        ]
        lines.append(f'<text y="{y * LINE_HEIGHT + 18.5:.1f}">{"".join(texts)}</text>')
    size = f"0 0 {_x(width)} {height * LINE_HEIGHT:.1f}"
    styles = "".join(f".{name}{{{look}}}\n" for look, name in looks.items())
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="{size}" '
        f'font-family="Fira Code, monospace" font-size="19.5">\n<style>\n{styles}</style>\n'
        f'<rect width="100%" height="100%" fill="{GROUND.hex}"/>\n{body}\n</svg>\n'
    )


def text_of(app: App) -> str:
    """What the screen says, without any looks."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


def _x(cells: int) -> str:
    return str(cells * CELL_WIDTH)


def _joined(grounds: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Neighbours of one colour as one."""
    joined: list[tuple[int, int, str]] = []
    for left, cells, colour in grounds:
        if joined and joined[-1][2] == colour and sum(joined[-1][:2]) == left:
            joined[-1] = (joined[-1][0], joined[-1][1] + cells, colour)
        else:
            joined.append((left, cells, colour))
    return joined


def _colours(style: Style | None) -> tuple[ColorTriplet, ColorTriplet | None, str]:
    white = ColorTriplet(224, 224, 224)
    if style is None:
        return white, None, ""
    fore = white if style.color is None else style.color.get_truecolor()
    ground = None if style.bgcolor is None else style.bgcolor.get_truecolor()
    if style.reverse:
        fore, ground = ground or GROUND, fore
    extra = ";font-weight:bold" if style.bold else ""
    extra += ";font-style:italic" if style.italic else ""
    extra += ";opacity:.6" if style.dim else ""
    line = [
        word for word, on in (("underline", style.underline), ("line-through", style.strike)) if on
    ]
    return fore, ground, extra + (f";text-decoration:{' '.join(line)}" if line else "")
