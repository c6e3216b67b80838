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
        self.opened = 0

    def compose(self) -> ComposeResult:
        yield self.tail

    def on_scroll_lines_opened(self, event: Tail.Opened) -> None:
        assert event.control is self.tail
        self.opened += 1

    def put(self, first: int, last: int) -> None:
        seqs = list(range(first, last + 1))
        self.tail.show(seqs, lambda row: (Cell(f"line {seqs[row]}"),))

    @property
    def lines(self) -> list[str]:
        shown = [line[:25].strip("▌ ") for line in text_of(self).splitlines()]
        return [line for line in shown if line]

    @property
    def marked(self) -> list[str]:
        """The lines with the mark of the cursor."""
        return [line[1:25].strip() for line in text_of(self).splitlines() if line[:1] == "▌"]


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
        await pilot.press(*["up"] * 6)
        await pilot.pause()
        before = app.lines
        assert app.marked == ["line 44"]
        assert before == [f"line {n}" for n in range(44, 49)]
        app.put(20, 70)  # old ones fell out
        await pilot.pause()
        assert app.lines == before
        assert app.marked == ["line 44"]
        app.put(60, 120)  # those that were read, too
        await pilot.pause()
        assert app.lines[0] == "line 60"
        assert app.marked == ["line 60"]
        await pilot.press("end")
        app.put(60, 130)
        await pilot.pause()
        assert app.lines[-1] == "line 130"


@tui_test
async def test_keys_move_by_lines_and_pages() -> None:
    app = Shown()
    async with app.run_test(size=(30, 5)) as pilot:
        app.put(1, 50)
        for key, expected in (
            ("home", 1), ("pagedown", 5), ("down", 6), ("pageup", 2), ("up", 1), ("up", 1),
            ("end", 50), ("down", 50),
        ):  # fmt: skip
            await pilot.press(key)
            await pilot.pause()
            assert app.marked == [f"line {expected}"], key


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


@tui_test
async def test_the_wheel_leaves_the_cursor_and_a_key_takes_it_into_view() -> None:
    app = Shown()
    async with app.run_test(size=(30, 5)) as pilot:
        app.put(1, 50)
        await pilot.pause()
        app.tail.scroll_to(y=10, animate=False, immediate=True)
        await pilot.pause()
        app.put(1, 60)
        await pilot.pause()
        assert app.lines[0] == "line 11"  # it follows no more
        assert app.marked == []
        await pilot.press("up")
        await pilot.pause()
        assert app.marked == ["line 14"]


@tui_test
async def test_a_click_selects_and_a_second_one_opens() -> None:
    app = Shown()
    async with app.run_test(size=(30, 5)) as pilot:
        app.put(1, 3)
        await pilot.click(Tail, offset=(3, 1))
        await pilot.pause()
        assert app.marked == ["line 2"]
        assert app.opened == 0
        await pilot.double_click(Tail, offset=(3, 0))
        await pilot.pause()
        assert app.marked == ["line 1"]
        assert app.opened == 1
        await pilot.click(Tail, offset=(3, 4))  # below the lines
        await pilot.pause()
        assert app.tail.cursor_row == 0
        app.put(1, 0)
        assert app.tail.cursor_row is None


@tui_test
async def test_the_lines_of_one_thing_keep_the_cursor() -> None:
    app = Shown()
    async with app.run_test(size=(30, 5)) as pilot:
        seqs = [1, 2, 2, 2, 3, 4, 5, 6]
        app.tail.show(seqs, lambda row: (Cell(f"row {row}"),))
        await pilot.press("home", "down", "down", "down")
        app.tail.show(seqs[1:], lambda row: (Cell(f"row {row + 1}"),))
        await pilot.pause()
        assert app.marked == ["row 3"]
