from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual.widgets import Input

from miles_router.tui.commands import Add
from miles_router.tui.pasted import one_line
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import Driven, driven

PASTED = "\x1b[31mhttp://10.0.0.7:30000\x1b[0m\x07\r\n"
PLAIN = "http://10.0.0.7:30000"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("state:up err:>0", "state:up err:>0"),
        (PASTED, PLAIN),
        ("\x1b]0;title\x07a\x1b]8;;http://evil\x1b\\b", "ab"),
        ("\x1b]52;c;cm0gLXJm", ""),
        ("\x9b2Jclear \x9d0;t\x9cc1", "clear c1"),
        ("one\ntwo\tthree  four", "one two three four"),
        ("a\u202eb\u200bc\u0000d\x7f", "abcd"),
        ("e\u0301t\u00e9 \u6771", "\u00e9t\u00e9 \u6771"),
        ("\x1b", ""),
        ("\x1b(Bx\x1b=y", "xy"),
    ],
)
def test_what_is_left_of_pasted_text(text: str, left: str) -> None:
    assert one_line(text) == left


@given(st.text(st.characters() | st.sampled_from("\x1b\x9b[]m\x07\n\t\u202e\u0301"), max_size=40))
def test_nothing_is_left_that_cannot_be_seen(text: str) -> None:
    left = one_line(text)
    assert left.isprintable()
    assert one_line(left).strip() == one_line(left)


async def paste(one: Driven, text: str) -> Input:
    one.app.post_message(events.Paste(text))
    await one.settle()
    field = one.app.screen.focused
    assert isinstance(field, Input)
    return field


@pytest.mark.parametrize("opened", [["slash"], ["a"], ["x", "x"], ["ctrl+p"]], ids="-".join)
@tui_test
async def test_every_field_takes_one_plain_line(opened: list[str]) -> None:
    async with driven() as one:
        await one.press(*opened)
        assert (await paste(one, f"{PASTED}two\x1b[2J")).value == f"{PLAIN} two"


@tui_test
async def test_a_pasted_url_is_sent_without_what_steers_a_terminal() -> None:
    async with driven() as one:
        await one.press("a")
        await paste(one, PASTED)
        await one.press("enter")
        assert one.source.controls.performed == [Add(PLAIN)]


@tui_test
async def test_what_others_wrote_is_copied_without_what_steers_a_shell() -> None:
    async with driven() as one:
        shown = one.source.snapshot
        assert shown is not None
        request = msgspec.structs.replace(shown.requests[0], rids=("rm\n\x1b[2J",))
        one.source.snapshot = msgspec.structs.replace(shown, requests=(request,))
        await one.tick()
        await one.press("2", "y")
        assert one.app.clipboard == r"rm\n\x1b[2J"
        await one.press("slash", "ctrl+v")
        assert one.app.main.view.filter_text == r"rm\n\x1b[2J"
