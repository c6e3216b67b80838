"""The help: its lines are made once for each size, and nothing in them is cut."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from miles_router.tui.actions import ACTIONS, Scope, help_rows
from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs
from miles_router.tui.screens.helping import HelpScreen, help_lines
from miles_router.tui.screens.legend import legend
from miles_router.tui.widgets.block import Block
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import driven


def lines(width: int, glyphs: Glyphs = UNICODE, **reasons: str) -> list[str]:
    shown = help_lines(help_rows(), reasons, legend(Scope.WORKERS, glyphs), width, glyphs)
    return ["".join(cell.text for cell in line) for line in shown]


def noted_widths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The widths for which the help's lines are made from here on."""
    widths: list[int] = []
    make = HelpScreen.lines
    monkeypatch.setattr(HelpScreen, "lines", lambda s, w: widths.append(w) or make(s, w))  # type: ignore[func-returns-value]
    return widths


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@pytest.mark.parametrize("width", [40, 71, 103])
def test_every_word_of_every_action_is_there(width: int, glyphs: Glyphs) -> None:
    shown = lines(width, glyphs)
    assert all(cell_len(line) <= width for line in shown)
    words = " ".join(" ".join(shown).split())
    for action in ACTIONS:
        if width > 50:
            assert action.help.split()[-1] in words
        assert action.label in words


def test_what_is_not_available_says_why() -> None:
    shown = " ".join(" ".join(lines(103, drain="it has\x1b drained")).split())
    assert r"Not now: it has\x1b drained." in shown


@tui_test
async def test_lines_are_made_once_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = noted_widths(monkeypatch)
    async with driven() as one:
        await one.press("question_mark")
        await one.tick()
        assert widths == [103]
        await one.pilot.resize_terminal(80, 24)
        await one.settle()
        assert widths == [103, 69]
        assert "Esc closes, arrows scroll" in one.text
        first = one.text
        await one.press("pagedown")
        assert one.text != first


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (110, 30), (120, 40)], ids=str)
@tui_test
async def test_lines_are_as_wide_as_the_box_has_room(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = noted_widths(monkeypatch)
    async with driven(size=size) as one:
        await one.press("question_mark")
        await one.tick()
        assert isinstance(one.app.screen, HelpScreen)
        room = one.app.screen.query_one(Block).scrollable_content_region.width
        assert widths[-1] == room
