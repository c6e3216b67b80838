"""An event or a line of the log, whole: from the view, from its worker, and back."""

from __future__ import annotations

import msgspec
import pytest

from miles_router.tui.screens.entry import EntryScreen
from miles_router.tui.screens.worker import WorkerScreen
from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import Driven, driven
from tests.tui.fake_source import FakeSource

WORDS = [f"word{number}" for number in range(60)]


def told(source: FakeSource) -> FakeSource:
    """The newest event and the newest line of the log of `source` say a lot."""
    *events, event = source.kept_events
    *lines, line = source.kept_log
    assert source.snapshot is not None
    worker = source.snapshot.workers[0]
    event = msgspec.structs.replace(
        event, message=" ".join(WORDS), reason="the last word", worker_id=worker.id,
        url=worker.url, from_state="active", to_state="suspect",
    )  # fmt: skip
    line = msgspec.structs.replace(line, level="error", text=" ".join(WORDS) + "\n  at the end")
    source.kept_events, source.kept_log = (*events, event), (*lines, line)
    return source


def words_on(one: Driven) -> list[str]:
    return one.text.replace("│", " ").replace("▌", " ").split()


@pytest.mark.parametrize("size", [(120, 40), (80, 24)], ids=str)
@tui_test
async def test_enter_shows_an_event_whole_and_escape_goes_back(size: tuple[int, int]) -> None:
    async with driven(told(FakeSource(pictures.picture())), size=size) as one:
        await one.press("4")
        await one.tick(0)
        assert WORDS[-1] not in words_on(one)
        await one.press("enter")
        for expected in (*WORDS, "suspect", "http://10.0.0.10:30000"):
            assert expected in words_on(one)
        assert "the last word" in one.text
        assert "Esc closes" in one.text
        await one.press("escape")
        assert one.app.screen is one.app.main
        assert one.app.main.active == "events"


@tui_test
async def test_enter_on_any_part_of_a_traceback_shows_its_line_whole() -> None:
    async with driven(told(FakeSource(pictures.picture()))) as one:
        await one.press("5")
        await one.tick(0)
        for moves in ([], ["up"]):
            await one.press(*moves, "enter")
            assert set(WORDS) <= set(words_on(one))
            assert "at the end" in one.text
            await one.press("enter")
            assert one.app.screen is one.app.main
        await one.press("up", "enter")
        assert "sweep removed" not in one.text
        assert "journal is slow" in one.text.split("Line of the log")[1]


@tui_test
async def test_what_is_read_stays_while_others_come() -> None:
    source = told(FakeSource(pictures.picture()))
    async with driven(source) as one:
        await one.press("4", "enter")
        source.kept_events = (*source.kept_events, msgspec.structs.replace(
            source.kept_events[-1], seq=99, message="a newer one"
        ))  # fmt: skip
        await one.tick()
        assert WORDS[-1] in words_on(one)


@tui_test
async def test_the_events_of_one_worker_too() -> None:
    async with driven(told(FakeSource(pictures.picture()))) as one:
        await one.press("1", "home", "enter")
        await one.tick(0)
        await one.press("enter")
        assert "Tab goes to its events" in one.toasts[-1]
        await one.press("tab", "tab", "enter")
        assert isinstance(one.app.screen, EntryScreen)
        assert set(WORDS) <= set(words_on(one))
        await one.press("escape")
        assert isinstance(one.app.screen, WorkerScreen)


@tui_test
async def test_an_entry_is_laid_out_again_and_scrolls_where_it_is_long() -> None:
    async with driven(told(FakeSource(pictures.picture()))) as one:
        await one.press("4", "enter")
        await one.pilot.resize_terminal(40, 12)
        await one.settle()
        assert WORDS[-1] not in words_on(one)
        await one.press("end")
        assert "the last word" in " ".join(words_on(one))


@tui_test
async def test_without_any_event_it_says_so() -> None:
    source = FakeSource(pictures.picture())
    source.kept_events, source.kept_log = (), ()
    async with driven(source) as one:
        for view in "45":
            await one.press(view, "enter")
            assert one.app.screen is one.app.main
            assert "nothing is selected" in one.toasts[-1]
