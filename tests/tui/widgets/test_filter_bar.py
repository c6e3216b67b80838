"""Typing a filter: what it costs."""

from __future__ import annotations

from typing import Any

from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import driven
from tests.tui.fake_source import FakeSource


@tui_test
async def test_what_is_typed_causes_no_layout() -> None:
    """A layout takes 30 ms at each letter, a filter over a thousand workers takes 3."""
    async with driven(FakeSource(pictures.picture(100))) as one:
        await one.press("slash")
        await one.tick()
        layouts: list[str] = []
        lay_out = one.app.screen._refresh_layout

        def noted(*args: Any, **named: Any) -> None:
            layouts.append(one.app.main.filter_bar.text)
            lay_out(*args, **named)

        one.app.screen._refresh_layout = noted  # type: ignore[method-assign]
        await one.press(*"err:>x")
        assert "err:>x" in one.text
        assert "number" in one.text
        await one.press("backspace", "0")
        assert "filter err:>0" in one.text
        del one.app.screen._refresh_layout
        assert layouts == []


@tui_test
async def test_the_end_of_a_long_text_is_in_view_while_it_is_typed() -> None:
    async with driven(size=(80, 24)) as one:
        await one.press("slash", *("w" * 60), *"last")
        bar = next(line for line in one.text.splitlines() if line.startswith(" / "))
        assert "last" in bar
        await one.press("home")
        bar = next(line for line in one.text.splitlines() if line.startswith(" / "))
        assert bar.startswith(" / www")
        assert "last" not in bar
