"""A question on the screen: a word is typed alone, and what it costs follows the snapshots."""

from __future__ import annotations

import msgspec
from textual.widgets import Input

from miles_router.tui.commands import Remove
from miles_router.tui.screens.questioning import ChoiceButton, QuestionScreen
from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import Driven, driven


def dialog(one: Driven) -> QuestionScreen:
    assert isinstance(one.app.screen, QuestionScreen)
    return one.app.screen


def shown_answers(one: Driven) -> list[str]:
    return [str(each.label) for each in dialog(one).query(ChoiceButton) if each.display]


def run_on_first(one: Driven, count: int) -> str:
    """So many requests run on the first worker now; its id."""
    assert one.source.snapshot is not None
    first, *others = one.source.snapshot.workers
    first = msgspec.structs.replace(first, inflight=count, load=count)
    one.source.snapshot = msgspec.structs.replace(one.source.snapshot, workers=(first, *others))
    return first.id


@tui_test
async def test_while_a_word_is_typed_there_are_no_other_answers() -> None:
    async with driven() as one:
        worker_id = run_on_first(one, 3)
        await one.press("home", "x")
        before = shown_answers(one)
        assert len(before) == 3
        await one.press("x")
        assert shown_answers(one) == []
        assert "Esc goes back" in one.text
        await one.press("d", "enter")
        assert "nothing was done" in one.text
        await one.press("escape")
        assert shown_answers(one) == before
        assert "nothing was done" not in one.text
        await one.press("x")
        typed = dialog(one).query_one("#typed", Input)
        assert typed.value == ""
        await one.press(*typed.placeholder, "enter")
        assert one.source.controls.performed == [Remove(worker_id, cuts=True)]


@tui_test
async def test_escape_twice_from_the_typing_asks_for_nothing() -> None:
    async with driven() as one:
        run_on_first(one, 3)
        await one.press("home", "x", "x", "escape", "escape")
        assert one.app.screen is one.app.main
        assert one.source.controls.performed == []


@tui_test
async def test_what_it_costs_follows_the_snapshots() -> None:
    async with driven() as one:
        run_on_first(one, 3)
        await one.press("home", "x")
        assert "3 requests in flight" in one.text
        run_on_first(one, 7)
        await dialog(one).renew()
        await one.settle()
        assert "7 requests in flight" in one.text
        await one.press("x")
        run_on_first(one, 9)
        await dialog(one).renew()
        await one.settle()
        assert "9 requests in flight" in one.text
        assert shown_answers(one) == []


@tui_test
async def test_other_answers_come_when_they_are_others() -> None:
    async with driven() as one:
        run_on_first(one, 0)
        await one.press("home", "x")
        assert "Nothing runs on it" in one.text
        run_on_first(one, 2)
        await dialog(one).renew()
        await one.settle()
        assert "2 requests in flight" in one.text
        assert any("Drain, then remove" in each for each in shown_answers(one))
        assert dialog(one).focused is dialog(one).query_one("#default")


@tui_test
async def test_a_question_stays_when_what_it_is_about_has_gone() -> None:
    async with driven() as one:
        run_on_first(one, 2)
        await one.press("home", "x")
        one.source.snapshot = pictures.picture(0)
        await dialog(one).renew()
        await one.settle()
        assert "2 requests in flight" in one.text
