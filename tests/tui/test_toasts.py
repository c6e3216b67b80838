"""Few sentences at a time, one per subject, gone with the view they were about."""

from __future__ import annotations

import pytest

from miles_router.tui.app import RouterTui
from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import driven
from tests.tui.fake_source import FakeSource
from tests.tui.screen_svg import text_of


@tui_test
async def test_at_most_two_stand_at_a_time_the_newest_of_each_subject() -> None:
    async with driven() as one:
        for text, subject in (("a", ""), ("sorted by x", "sort"), ("sorted by y", "sort")):
            one.app.say(text, subject=subject)
        assert one.toasts == ["a", "sorted by y"]
        one.app.say("b")
        assert one.toasts == ["sorted by y", "b"]
        one.app.say("b", is_bad=True)
        assert one.toasts == ["sorted by y", "b"]


@tui_test
async def test_what_stands_is_on_the_screen_and_nothing_else() -> None:
    app = RouterTui(FakeSource(pictures.picture()))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        for text in ("first", "second", "third"):
            app.say(text)
            await pilot.pause()
        shown = text_of(app)
        assert ("first" in shown, "second" in shown, "third" in shown) == (False, True, True)
        app.toasts.clear()
        await pilot.pause()
        assert "third" not in text_of(app)


@pytest.mark.parametrize("key", ["s", "plus", "t"])
def test_keys_that_step_replace_what_they_said(key: str) -> None:
    async def step() -> None:
        async with driven() as one:
            await one.press(key, key, key)
            assert len(one.toasts) == 1

    tui_test(step)()


@pytest.mark.parametrize("key", ["2", "tab", "enter"])
def test_another_view_begins_without_them(key: str) -> None:
    async def change() -> None:
        async with driven() as one:
            await one.press("home", "s")
            assert len(one.toasts) == 1
            await one.press(key)
            assert one.toasts == []

    tui_test(change)()
