"""Lines that can be scrolled where they have too little room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import App

from miles_router.tui.rows import Cell
from miles_router.tui.widgets.block import Block
from tests.tui.asyncio_tests import tui_test
from tests.tui.screen_svg import text_of

if TYPE_CHECKING:
    from textual.app import ComposeResult


class Shown(App[None]):
    """A block alone."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()

    def compose(self) -> ComposeResult:
        yield self.block

    def put(self, count: int) -> None:
        self.block.show((Cell(f"line {number}"),) for number in range(1, count + 1))

    @property
    def lines(self) -> list[str]:
        return [line[:25].strip() for line in text_of(self).splitlines() if line[:25].strip()]


@tui_test
async def test_keys_scroll_and_new_lines_do_not() -> None:
    app = Shown()
    async with app.run_test(size=(30, 5)) as pilot:
        app.put(20)
        await pilot.pause()
        for key, first in (
            ("down", 2), ("pagedown", 6), ("pageup", 2), ("end", 16), ("down", 16), ("up", 15),
            ("home", 1), ("up", 1),
        ):  # fmt: skip
            await pilot.press(key)
            await pilot.pause()
            assert app.lines == [f"line {first + n}" for n in range(5)], key
        await pilot.press("down")
        app.put(30)
        await pilot.pause()
        assert app.lines[0] == "line 2"
        app.put(3)
        await pilot.pause()
        assert app.lines == ["line 1", "line 2", "line 3"]
