from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from miles_router.tui import format as fmt
from miles_router.tui.chart import chart, nice_top, plot_width
from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs

NAN = math.nan


def test_a_chart_has_an_axis_with_its_maximum_and_its_span() -> None:
    assert chart([0, 10, 40, NAN, 80], 14, 5, span_s=120) == [
        "   100┤      ▂",
        "      │      █",
        "      │    ▅ █",
        "     0┤  _▄█ █",
        "           now",
    ]


def test_what_nobody_knows_has_no_scale() -> None:
    assert chart([NAN] * 3, 14, 3) == ["     -┤       ", "      │       ", "      ┤       "]
    assert chart([], 14, 2) == ["     -┤       ", "      ┤       "]


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_nothing_looks_like_zero_and_zero_not_like_what_nobody_knows(glyphs: Glyphs) -> None:
    shown = [chart([value], 8, 2, glyphs, top=100)[1][-1] for value in (NAN, 0, 1e-9, 50)]
    assert len(set(shown)) == 4
    assert shown[:2] == [" ", "_"]


def test_with_room_the_axis_says_how_long_ago() -> None:
    assert chart([1] * 20, 27, 3, span_s=120)[-1] == "       2m00s ago        now"


def test_the_axis_spans_whole_seconds_for_each_column() -> None:
    # 120 seconds in 25 columns are 5 seconds each: 125.
    assert chart([1] * 25, 32, 2, span_s=120)[-1] == "       2m05s ago             now"


def test_a_chart_in_ascii() -> None:
    assert chart([0, 1, 2, 4], 11, 2, ASCII, top=4) == ["     4+   #", "     0+_:##"]


def test_plots_of_one_top_compare() -> None:
    assert chart([5], 8, 1, top=10) == ["    10┤▄"]
    assert chart([5], 8, 1, top=5) == ["     5┤█"]


def test_the_label_is_the_callers() -> None:
    assert chart([0.25], 8, 2, label=fmt.seconds, top=0.25)[0] == " 250ms┤█"


@pytest.mark.parametrize(
    ("highest", "top"),
    [
        (0, 1),
        (NAN, 1),
        (math.inf, 1),
        (0.003, 0.005),
        (1, 1),
        (3, 5),
        (21, 25),
        (412, 500),
        (501, 1000),
    ],
)
def test_the_scale_is_round(highest: float, top: float) -> None:
    assert nice_top(highest) == pytest.approx(top)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(
    values=st.lists(st.floats(allow_infinity=False), max_size=60),
    width=st.integers(0, 60),
    height=st.integers(0, 8),
    span_s=st.none() | st.floats(0, 1e6),
)
def test_a_chart_is_as_large_as_asked(
    glyphs: Glyphs, values: list[float], width: int, height: int, span_s: float | None
) -> None:
    lines = chart(values, width, height, glyphs, span_s=span_s)
    assert len(lines) == height
    assert {cell_len(line) for line in lines} <= {width}
    assert not glyphs.is_ascii or all(line.isascii() for line in lines)
    assert plot_width(width) <= width
