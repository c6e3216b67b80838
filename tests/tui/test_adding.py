"""The dialog that adds a worker: what the router refuses can be mended in its place."""

from __future__ import annotations

import asyncio

import pytest
from textual.widgets import Input

from miles_router.tui.commands import Add, Command
from miles_router.tui.screens.adding import AddScreen, worker_url
from miles_router.tui.screens.questioning import QuestionScreen
from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import Driven, driven
from tests.tui.fake_source import FakeControls, FakeSource

TYPED = "10.1.2.3:30000"


class SlowControls(FakeControls):
    """Answers when a test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.asked = 0

    async def perform(self, command: Command) -> str:
        self.asked += 1
        await self.may_answer.wait()
        return await super().perform(command)


def slow() -> tuple[FakeSource, SlowControls]:
    source, controls = FakeSource(pictures.picture()), SlowControls()
    source.controls = controls
    return source, controls


def dialog(one: Driven) -> AddScreen:
    assert isinstance(one.app.screen, AddScreen)
    return one.app.screen


@tui_test
async def test_a_refusal_keeps_the_dialog_with_what_was_typed() -> None:
    async with driven() as one:
        one.source.controls.refuses = "a worker at \x1b[2J is there already"
        await one.press("a", *TYPED, "enter")
        assert r"a worker at \x1b[2J is there already" in one.text
        field = dialog(one).query_one(Input)
        assert field.value == TYPED
        assert dialog(one).focused is field
        assert one.toasts == []
        one.source.controls.refuses = ""
        await one.press("backspace", "1", "enter")
        assert one.source.controls.performed == [Add("http://10.1.2.3:30001")]
        assert one.app.screen is one.app.main
        assert one.toasts == ["done: add"]


@tui_test
async def test_while_the_router_is_asked_it_says_so_and_asks_once() -> None:
    source, controls = slow()
    async with driven(source) as one:
        await one.press("a", *TYPED, "enter", "enter")
        assert "asking the router" in one.text
        assert controls.asked == 1
        controls.may_answer.set()
        await one.settle()
        assert one.app.screen is one.app.main
        assert one.toasts == ["done: add"]


@pytest.mark.parametrize("refuses", ["", "not that one"])
@tui_test
async def test_the_answer_comes_after_it_was_closed(refuses: str) -> None:
    source, controls = slow()
    controls.refuses = refuses
    async with driven(source) as one:
        await one.press("a", *TYPED, "enter", "escape")
        assert one.app.screen is one.app.main
        controls.may_answer.set()
        await one.settle()
        assert one.toasts == [refuses or "done: add"]


@tui_test
async def test_the_answer_comes_below_a_question() -> None:
    source, controls = slow()
    async with driven(source) as one:
        await one.press("a", *TYPED, "enter", "ctrl+c")
        assert isinstance(one.app.screen, QuestionScreen)
        controls.may_answer.set()
        await one.settle()
        assert isinstance(one.app.screen, QuestionScreen)
        await one.press("escape")
        assert "done: add" in one.text
        assert dialog(one).query_one(Input).value == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "type a URL"),
        ("a b:1", "no blanks"),
        ("a:70000", "number up to 65535"),
        ("ftp://a:1", "http or https, not ftp"),
        ("http://:1", "host is missing"),
        ("a", "port is missing"),
    ],
)
def test_what_cannot_be_a_worker(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        worker_url(text)
    assert worker_url(" https://a ") == "https://a"
