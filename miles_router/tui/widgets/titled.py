"""Text of others in places where Textual would read its markup: frames, and the palette's list.

Markup in a worker's URL or in a filter being typed (`[/`, `[@click=...]`) is text like any other.
Textual's own escape leaves `[/` as it is, which its parser then refuses; so no markup is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.content import Content

if TYPE_CHECKING:
    from textual.widget import Widget


def literal(text: str) -> str:
    """`text` for where Textual says str, reads markup, and takes Content as it is."""
    return cast("str", Content(text))


def set_title(widget: Widget, text: str) -> None:
    """Write `text`, which is safe (`Glyphs.safe`), into the frame of `widget`, as it is.

    The same text again draws nothing.
    """
    if widget.border_title != Content(text).markup:  # as which Textual gives it back
        widget.border_title = literal(text)
