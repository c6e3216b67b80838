from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from miles_router.tui.ascii_filter import AsciiFilter, plain

GROUND = Color.parse("black")


@pytest.mark.parametrize(
    ("drawn", "wanted"),
    [
        ("plain #1", "plain #1"),
        ("╭─ title ─╮", "+- title -+"),
        ("│ █▌ ░ │", "| #| : |"),
        ("▁▂▅", "--#"),
        ("● … ✓ \N{MULTIPLICATION SIGN}", "* ~ + x"),
        ("\N{CJK UNIFIED IDEOGRAPH-4E16}\N{SNOWMAN}", "???"),
        ("", ""),
    ],
)
def test_each_cell_gets_a_character(drawn: str, wanted: str) -> None:
    assert plain(drawn) == wanted
    assert len(wanted) == cell_len(drawn)


def test_styles_stay_and_plain_segments_are_left_alone() -> None:
    bold = Style(bold=True)
    segments = [Segment("ok", bold), Segment("│", bold)]
    found = AsciiFilter().apply(segments, GROUND)
    assert found[0] is segments[0]
    assert found == [Segment("ok", bold), Segment("|", bold)]
