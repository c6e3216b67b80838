"""The table: its cursor stays on a thing, and only what is in view and changed costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import App

from miles_router.tui.rows import Cell
from miles_router.tui.widgets.line_table import LineTable
from tests.tui.asyncio_tests import tui_test
from tests.tui.screen_svg import text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

TITLES = (Cell("NAME      "),)


class Shown(App[None]):
    """A table alone; notes what it says and which rows were formatted."""

    def __init__(self) -> None:
        super().__init__()
        self.table = LineTable()
        self.asked: list[int] = []
        self.opened: list[str] = []
        self.heads: list[int] = []
        self.values: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        yield self.table

    def put(self, keys: Sequence[str]) -> None:
        def cells(row: int) -> Sequence[Cell]:
            self.asked.append(row)
            return (Cell(f"{keys[row]}{self.values.get(keys[row], '')}".ljust(10)),)

        self.table.show(keys, cells, TITLES)

    def on_scroll_lines_opened(self, event: LineTable.Opened) -> None:
        assert event.opened is self.table
        self.opened.append(self.table.cursor_key or "")

    def on_line_table_head_clicked(self, event: LineTable.HeadClicked) -> None:
        self.heads.append(event.x)


def names(count: int) -> list[str]:
    return [f"w{number:04d}" for number in range(count)]


@tui_test
async def test_the_cursor_follows_its_row() -> None:
    app = Shown()
    async with app.run_test(size=(40, 10)) as pilot:
        app.put(names(5))
        await pilot.pause()
        await pilot.press("down", "down")
        assert app.table.cursor_key == "w0002"
        app.put(["w0004", "w0002", "w0003", "w0000"])
        await pilot.pause()
        assert app.table.cursor_key == "w0002"
        assert text_of(app).splitlines()[2].startswith("▌w0002")


@tui_test
async def test_the_cursor_keeps_its_place_when_its_row_is_gone() -> None:
    app = Shown()
    async with app.run_test(size=(40, 10)) as pilot:
        app.put(names(4))
        await pilot.press("end")
        assert app.table.cursor_key == "w0003"
        app.put(names(3))
        assert app.table.cursor_key == "w0002"
        app.put([])
        await pilot.press("down", "up", "home", "end", "pagedown")
        assert app.table.cursor_key is None
        app.put(names(2))
        assert app.table.cursor_key == "w0000"


@tui_test
async def test_only_rows_in_view_are_formatted() -> None:
    app = Shown()
    async with app.run_test(size=(40, 12)) as pilot:
        app.put(names(1000))
        await pilot.pause()
        assert set(app.asked) == set(range(11))
        app.asked.clear()
        await pilot.press("end")
        await pilot.pause()
        assert set(app.asked) <= set(range(989, 1000)) | set(range(11))
        assert "w0999" in text_of(app)


@tui_test
async def test_only_changed_lines_are_drawn_again() -> None:
    app = Shown()
    async with app.run_test(size=(40, 12)) as pilot:
        keys = names(50)
        app.put(keys)
        await pilot.pause()
        drawn: list[int] = []
        paint = app.table.render_line
        app.table.render_line = lambda y: drawn.append(y) or paint(y)  # type: ignore[method-assign,func-returns-value]
        app.put(keys)
        await pilot.pause()
        assert drawn == []
        app.values["w0003"] = "!"
        app.put(keys)
        await pilot.pause()
        assert drawn == [4]  # the head is line 0
        assert "w0003!" in text_of(app)


@tui_test
async def test_rows_that_come_and_go_cause_no_layout() -> None:
    app = Shown()
    async with app.run_test(size=(40, 12)) as pilot:
        app.put(names(3))
        await pilot.pause()
        layouts: list[int] = []
        lay_out = app.screen._refresh_layout
        app.screen._refresh_layout = lambda *a, **k: layouts.append(1) or lay_out(*a, **k)  # type: ignore[method-assign,func-returns-value]
        for count in (200, 7, 0, 60):
            app.put(names(count))
            await pilot.pause()
        assert layouts == []
        await pilot.press("end")
        await pilot.pause()
        assert "w0059" in text_of(app)


@tui_test
async def test_a_row_in_view_is_kept_in_view_where_it_goes() -> None:
    app = Shown()
    async with app.run_test(size=(40, 12)) as pilot:
        app.put(names(100))
        await pilot.press("down")
        moved = names(100)
        moved.remove("w0001")
        app.put([*moved, "w0001"])
        await pilot.pause()
        assert "▌w0001" in text_of(app)


@tui_test
async def test_who_scrolled_away_stays_there() -> None:
    app = Shown()
    async with app.run_test(size=(40, 12)) as pilot:
        app.put(names(100))
        await pilot.pause()
        for _ in range(6):
            app.table._scroll_down_for_pointer(animate=False)
        await pilot.pause()
        assert app.table.top_row > 0
        top = app.table.top_row
        app.put(names(100))
        await pilot.pause()
        assert (app.table.top_row, app.table.cursor_key) == (top, "w0000")
        await pilot.press("down")
        assert "▌w0001" in text_of(app)


@tui_test
async def test_the_mouse_selects_opens_and_sorts() -> None:
    app = Shown()
    async with app.run_test(size=(40, 12)) as pilot:
        app.put(names(20))
        await pilot.pause()
        await pilot.click(LineTable, offset=(5, 4))
        assert app.table.cursor_key == "w0003"
        await pilot.double_click(LineTable, offset=(5, 6))
        await pilot.pause()
        assert app.opened == ["w0005"]
        await pilot.click(LineTable, offset=(3, 0))
        await pilot.pause()
        assert app.heads == [2]


@tui_test
async def test_pages_and_ends() -> None:
    app = Shown()
    async with app.run_test(size=(40, 12)) as pilot:
        app.put(names(100))
        for key, expected in (
            ("pagedown", "w0010"),
            ("pagedown", "w0020"),
            ("pageup", "w0010"),
            ("end", "w0099"),
            ("down", "w0099"),
            ("home", "w0000"),
            ("up", "w0000"),
        ):
            await pilot.press(key)
            assert app.table.cursor_key == expected, key


@tui_test
async def test_a_window_that_shrinks_keeps_working() -> None:
    app = Shown()
    async with app.run_test(size=(40, 12)) as pilot:
        app.put(names(30))
        await pilot.press("end")
        for size in ((20, 4), (5, 2), (80, 30), (1, 1), (40, 12)):
            await pilot.resize_terminal(*size)
            app.put(names(30))
            await pilot.pause()
        assert app.table.cursor_key == "w0029"
