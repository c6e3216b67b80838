"""Keys that arrive together do what they do one after the other, on every screen."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from textual import events

from miles_router.tui.commands import Abort, Add, Drain, Quarantine, Remove
from miles_router.tui.screens.helping import HelpScreen
from miles_router.tui.screens.worker import WorkerScreen
from miles_router.tui.turns import LOST_AFTER_S
from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import Driven, driven, key_event
from tests.tui.fake_source import FakeSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.tui.commands import Command

FIRST, SECOND = (one.id for one in pictures.picture().workers[:2])


async def burst(one: Driven, *keys: str) -> None:
    """All `keys` are there before the first is dealt with."""
    for key in keys:
        one.app.post_message(key_event(key))
    await one.settle()


async def until(one: Driven, is_so: Callable[[Driven], Any]) -> None:
    while not is_so(one):
        await one.pilot.pause(0.02)


# Keys, and what is so after them; each leaves the main screen as it was, but for the last.
def did(one: Driven, *commands: Command) -> bool:
    """Whether these, and no others, were carried out since the last question."""
    done = one.source.controls.performed
    performed = list(done)
    done.clear()
    return performed == list(commands)


BURSTS: list[tuple[list[str], Callable[[Driven], Any]]] = [
    (["slash", *"dxzqk", "enter"], lambda one: one.app.main.view.filter_text == "dxzqk"),
    (["slash", *"err:", "escape", "escape"], lambda one: one.app.main.view.filter_text == ""),
    (["question_mark", "down", "escape"], lambda one: one.app.screen is one.app.main),
    (["question_mark", "question_mark", "f1"], lambda one: isinstance(one.app.screen, HelpScreen)),
    (["q", "2", "5", "3"], lambda one: one.app.main.active == "cache"),
    (["1", "ctrl+p", *"totals", "enter"], lambda one: one.app.main.active == "totals"),
    (["1", "tab", "tab", "shift+tab", "6", "tab"], lambda one: one.app.main.active == "workers"),
    (["home", "down", "down", "up"], lambda one: one.app.selected().worker.id == SECOND),  # type: ignore[union-attr]
    (["enter", "d"], lambda one: did(one, Drain(SECOND))),
    (["escape", "home", "z", "y"], lambda one: did(one, Quarantine(FIRST))),
    (["x", "x", *"w-0000", "enter"], lambda one: did(one, Remove(FIRST, cuts=True))),
    (["a", *"10.0.0.1:8", "enter"], lambda one: did(one, Add("http://10.0.0.1:8"))),
    (["2", "down", "k", "y"], lambda one: did(one, Abort("req-000001"))),
    (["x", "1", "x", "escape", "enter"], lambda one: isinstance(one.app.screen, WorkerScreen)),
    (["escape", "n", "q", "n", "q", "q"], lambda one: one.app.return_value == 0),
]  # fmt: skip


@tui_test
async def test_every_screen_takes_keys_that_arrive_together() -> None:
    async with driven(FakeSource(pictures.picture())) as one:
        for keys, is_so in BURSTS:
            await burst(one, *keys)
            if "ctrl+p" in keys:  # the palette searches beside the app
                with suppress(TimeoutError):
                    await asyncio.wait_for(until(one, is_so), 5)
            assert is_so(one), (keys, one.app.screen, one.source.controls.performed)


@tui_test
async def test_pasted_text_goes_where_the_key_before_it_leads() -> None:
    async with driven() as one:
        one.app.post_message(key_event("a"))
        one.app.post_message(events.Paste("10.0.0.1:80"))
        await burst(one, "enter")
        assert one.source.controls.performed == [Add("http://10.0.0.1:80")]


@pytest.mark.parametrize("after", ["question_mark", "x", "slash"])
@tui_test
async def test_keys_after_the_last_one_do_nothing(after: str) -> None:
    async with driven(FakeSource(pictures.picture(), is_local=False)) as one:
        await burst(one, "q", after)
        assert one.app.return_value == 0


@pytest.mark.parametrize("opened", ["question_mark", "x", "enter", "ctrl+p"])
@tui_test
async def test_a_screen_may_end_while_it_is_opened(opened: str) -> None:
    for steps in (1, 4, 9, 16):
        async with driven() as one:
            one.app.post_message(key_event(opened))
            for _ in range(steps):
                await asyncio.sleep(0)
            one.app.exit(0)
            await one.pilot.pause(0.02)
        assert one.app._exception is None


@tui_test
async def test_a_key_whose_widget_went_away_holds_the_next_up_for_a_moment_only() -> None:
    async with driven() as one:
        turns = one.app.turns
        await burst(one, "down")
        turns._turn += 1
        turns._since = asyncio.get_running_loop().time() - LOST_AFTER_S - 1
        await burst(one, "2")
        assert one.app.main.active == "requests"
