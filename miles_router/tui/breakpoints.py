"""The classes that the screens have by their width and height in cells; `style.tcss` uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.geometry import Size

WIDTHS = [(0, "-narrow"), (80, "-medium"), (100, "-wide"), (160, "-very-wide")]
HEIGHTS = [(0, "-flat"), (14, "-low"), (32, "-high")]


def classes_of(size: Size) -> tuple[str, str]:
    """One for the width and one for the height."""
    width = max(each for each in WIDTHS if each[0] <= size.width)
    height = max(each for each in HEIGHTS if each[0] <= size.height)
    return width[1], height[1]
