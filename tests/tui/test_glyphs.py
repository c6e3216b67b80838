from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from miles_router.core.lifecycle import State
from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs, bar, meter, spark
from miles_router.tui.source import LinkState

SETS = pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
NAN = math.nan


def drawn(glyphs: Glyphs) -> list[str]:
    """All characters of a set."""
    characters: list[str] = []
    for each in dataclasses.fields(glyphs):
        value = getattr(glyphs, each.name)
        if isinstance(value, str):
            characters += value
        elif isinstance(value, dict):
            characters += value.values()
    return characters


@SETS
def test_each_glyph_is_one_cell(glyphs: Glyphs) -> None:
    assert {cell_len(each) for each in drawn(glyphs)} == {1}
    assert len(drawn(glyphs)) > 30


def test_the_ascii_set_is_ascii() -> None:
    assert all(each.isascii() and each.isprintable() for each in drawn(ASCII))


@SETS
def test_every_state_has_its_own_sign(glyphs: Glyphs) -> None:
    assert set(glyphs.states) == {state.value for state in State}
    assert len(set(glyphs.states.values())) == len(glyphs.states)
    assert set(glyphs.links) == {state.value for state in LinkState}
    assert len(set(glyphs.requests.values())) == len(glyphs.requests) == 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://10.0.0.1:30000", "http://10.0.0.1:30000"),
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("two\r\nlines\tand a tab", r"two\r\nlines\tand a tab"),
        ("\x9b31m", r"\x9b31m"),  # the one-byte form of ESC [
        ("a\u202eb", r"a\u202eb"),  # right to left from here
        ("a\u200db\ufe0f\u0301", r"a\u200db\ufe0f\u0301"),  # join with what is before
        ("\U0001f1e9\U0001f1ea", r"\U0001f1e9\U0001f1ea"),  # two letters that make one flag
        ("Grüße 東京", "Grüße 東京"),
        ("\udc80", r"\udc80"),  # half of a pair: cannot be encoded
    ],
)
def test_what_could_steer_the_terminal_is_escaped(text: str, shown: str) -> None:
    assert UNICODE.safe(text) == shown


def test_the_ascii_set_escapes_all_that_is_not_ascii() -> None:
    assert ASCII.safe("Grüße 東\n") == r"Gr\xfc\xdfe \u6771\n"


@SETS
@given(st.text())
def test_safe_text_is_printable_and_its_cells_add_up(glyphs: Glyphs, text: str) -> None:
    safe = glyphs.safe(text)
    assert safe.isprintable()
    assert cell_len(safe) == sum(cell_len(each) for each in safe)
    assert all(cell_len(each) > 0 for each in safe)
    assert not glyphs.is_ascii or safe.isascii()
    safe.encode()


@pytest.mark.parametrize(
    ("values", "width", "top", "line"),
    [
        ([0, 1, 4, 7], 4, 7, "▁▂▅█"),
        ([0, 0.01], 2, 100, "▁▂"),  # more than nothing shows
        ([200], 1, 100, "█"),
        ([NAN, 7, NAN], 3, 7, " █ "),
        ([7], 4, 7, "   █"),
        ([1, 2, 7], 2, 7, "▃█"),  # the newest
        ([], 3, 7, "   "),
        ([5], 0, 7, ""),
        ([0, 3], 2, 0, "▁█"),
        ([math.inf, 1], 2, math.inf, "█▂"),
    ],
)
def test_spark(values: list[float], width: int, top: float, line: str) -> None:
    assert spark(values, width, top, UNICODE) == line


def test_sparks_of_one_top_compare() -> None:
    assert spark([3, 3], 2, 12, UNICODE) < spark([12, 12], 2, 12, UNICODE)


@pytest.mark.parametrize(
    ("share", "width", "line"),
    [
        (0.0, 4, "░░░░"),
        (0.5, 4, "██░░"),
        (0.001, 4, "█░░░"),  # something
        (0.999, 4, "███░"),  # not all
        (1.0, 4, "████"),
        (7.0, 4, "████"),
        (-1.0, 4, "░░░░"),
        (None, 4, "    "),
        (NAN, 4, "    "),
        (0.5, 0, ""),
        (0.5, 1, "█"),
    ],
)
def test_meter(share: float | None, width: int, line: str) -> None:
    assert meter(share, width, UNICODE) == line


@pytest.mark.parametrize(
    ("share", "width", "line"),
    [(0, 3, "   "), (1, 3, "███"), (0.5, 3, "█▌ "), (0.001, 3, "▏  "), (9, 3, "███"), (0.5, 0, "")],
)
def test_bar(share: float, width: int, line: str) -> None:
    assert bar(share, width, UNICODE) == line


@SETS
@given(
    values=st.lists(st.floats(allow_infinity=False), max_size=80),
    width=st.integers(0, 70),
    top=st.floats(0, 1e9),
)
def test_nothing_is_wider_or_narrower_than_asked(
    glyphs: Glyphs, values: list[float], width: int, top: float
) -> None:
    assert cell_len(spark(values, width, top, glyphs)) == width
    for share in values:
        assert cell_len(meter(share, width, glyphs)) == width
    for share in (0.0, 0.3, top):
        assert cell_len(bar(share, width, glyphs)) == width
