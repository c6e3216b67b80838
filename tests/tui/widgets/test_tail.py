"""Lines that come in at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import App

from miles_router.tui.rows import Cell
from miles_router.tui.widgets.tail import Tail
from tests.tui.asyncio_tests import tui_test
from tests.tui.screen_svg import text_of

if TYPE_CHECKING:
    from textual.app import ComposeResult


class Shown(App[None]):
    """A tail alone."""

    def __init__(self) -> None:
        super().__init__()
        self.tail = Tail()

    def compose(self) -> ComposeResult:
        yield self.tail

    def put(self, first: int, last: int) -> None:
        seqs = list(range(first, last + 1))
        self.tail.show(seqs, lambda row: (Cell(f"line {seqs[row]}"),))

    @property
    def lines(self) -> list[str]:
        return [line[:25].strip() for line in text_of(self).splitlines() if line[:25].strip()]


@tui_test
async def test_it_stays_at_the_newest() -> None:
    app = Shown()
    async with app.run_test(size=(30, 5)) as pilot:
        app.put(1, 3)
        await pilot.pause()
        assert app.lines == ["line 1", "line 2", "line 3"]
        app.put(1, 90)
        await pilot.pause()
        assert app.lines == [f"line {n}" for n in range(86, 91)]


@tui_test
async def test_who_reads_further_up_keeps_the_lines() -> None:
    app = Shown()
    async with app.run_test(size=(30, 5)) as pilot:
        app.put(1, 50)
        await pilot.press("up", "up")
        await pilot.pause()
        before = app.lines
        assert before == [f"line {n}" for n in range(44, 49)]
        app.put(20, 70)  # old ones fell out
        await pilot.pause()
        assert app.lines == before
        app.put(60, 120)  # those that were read, too
        await pilot.pause()
        assert app.lines[0] == "line 60"
        await pilot.press("end")
        app.put(60, 130)
        await pilot.pause()
        assert app.lines[-1] == "line 130"


@tui_test
async def test_keys_move_by_lines_and_pages() -> None:
    app = Shown()
    async with app.run_test(size=(30, 5)) as pilot:
        app.put(1, 50)
        for key, expected in (("home", 1), ("pagedown", 5), ("down", 6), ("pageup", 2), ("up", 1)):
            await pilot.press(key)
            await pilot.pause()
            assert app.lines[0] == f"line {expected}", key


@tui_test
async def test_it_follows_through_a_resize() -> None:
    app = Shown()
    async with app.run_test(size=(30, 5)) as pilot:
        app.put(1, 50)
        await pilot.resize_terminal(30, 9)
        await pilot.pause()
        app.put(1, 51)
        await pilot.pause()
        assert app.lines[-1] == "line 51"
