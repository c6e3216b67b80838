"""The app around its keys: links, refusals, terminals of all kinds, and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from miles_router.tui.actions import ACTIONS
from miles_router.tui.app import RouterTui
from miles_router.tui.commands import Remove
from miles_router.tui.glyphs import UNICODE
from miles_router.tui.look import Look
from miles_router.tui.screens.questioning import QuestionScreen
from miles_router.tui.screens.worker import WorkerScreen
from miles_router.tui.source import Link, LinkState
from miles_router.tui.widgets.action_bar import ActionBar
from miles_router.tui.widgets.line_table import LineTable
from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import driven
from tests.tui.fake_source import NOW, FakeSource
from tests.tui.screen_svg import text_of

if TYPE_CHECKING:
    from pathlib import Path

    from miles_router.core.snapshot import Snapshot
    from miles_router.tui.actions import Action

LOST = Link(LinkState.LOST, NOW - 42, "connection refused", NOW + 3)


@tui_test
async def test_the_source_runs_as_long_as_the_app() -> None:
    source = FakeSource(None)
    async with driven(source):
        assert source.is_running
    assert not source.is_running


@tui_test
async def test_before_the_first_snapshot_it_says_what_it_waits_for() -> None:
    source = FakeSource(None, link=Link(LinkState.WAITING, NOW))
    async with driven(source) as one:
        assert f"waiting for {pictures.URL}" in one.text
        for view in "123456":
            await one.press(
                view, "d", "s", "r", "enter", "k", "g", "C", "y", "question_mark", "escape"
            )
        assert source.controls.performed == []


@tui_test
async def test_an_empty_pool_shows_the_exact_command() -> None:
    async with driven(FakeSource(pictures.picture(0)), size=(80, 24)) as one:
        assert f"curl -X POST '{pictures.URL}/add_worker?url=http://HOST:PORT'" in one.text
        one.source.snapshot = pictures.picture(2)
        await one.tick()
        assert "10.0.0.11:30000" in one.text


@tui_test
@pytest.mark.parametrize("before", [None, pictures.picture(0)], ids=["waiting", "empty"])
async def test_workers_that_come_later_are_chosen_by_arrows(before: Snapshot | None) -> None:
    async with driven(FakeSource(before)) as one:
        await one.tick()
        for _ in range(2):  # the second time after the pool was empty again
            one.source.snapshot = pictures.picture(4)
            await one.tick()
            table = one.app.screen.query_one("#workers-table", LineTable)
            await one.press("home")
            first = table.cursor_key
            await one.press("down")
            assert table.cursor_key != first
            one.source.snapshot = pictures.picture(0)
            await one.tick()


@tui_test
async def test_a_lost_link_keeps_the_numbers_and_refuses_commands() -> None:
    source = FakeSource(pictures.picture(), link=LOST)
    async with driven(source) as one:
        assert (
            "DISCONNECTED 42s, retry in 3s (R now), numbers are old: connection refused" in one.text
        )
        assert "10.0.0.10:30000" in one.text
        await one.press("d")
        assert "does not answer" in one.toasts[-1]
        assert source.controls.performed == []
        source.link = Link(LinkState.LIVE, NOW)
        await one.tick()
        assert "DISCONNECTED" not in one.text


@pytest.mark.parametrize("is_read_only", [True, False])
@tui_test
async def test_without_the_right_every_command_says_why(is_read_only: bool) -> None:
    source = FakeSource(pictures.picture(), refusal="" if is_read_only else "no admin token")
    reason = "read-only" if is_read_only else "no admin token"
    async with driven(source, is_read_only=is_read_only) as one:
        assert "read-only" in one.text.splitlines()[0]
        places = {"abort": "2", "sweep": "3", "clear": "3"}
        for action in ACTIONS:
            if action.changes:
                await one.press(places.get(action.id, "1"), action.keys[0])
                assert reason in one.toasts[-1], action.id
                assert one.app.screen is one.app.main
        assert source.controls.performed == []
        await one.press("1", "question_mark")
        assert reason in " ".join(one.text.split())


@tui_test
async def test_unavailable_keys_are_dim_in_the_footer() -> None:
    async with driven() as one:
        footer = one.app.main.query_one("#footer", ActionBar)
        state = {item.action_id: item.is_available for item in footer.items}
        assert state["drain"]
        assert not state["undrain"]
        assert not state["release"]


@tui_test
async def test_a_refused_command_is_answered_with_the_reason() -> None:
    async with driven() as one:
        one.source.controls.refuses = "there is no such worker"
        await one.press("d")
        assert one.toasts == ["there is no such worker"]


@tui_test
async def test_a_key_of_another_place_says_where_it_belongs() -> None:
    async with driven() as one:
        await one.press("2", "d")
        assert one.toasts[-1] == "Drain: it belongs to: Workers or One worker"


@tui_test
async def test_what_cuts_requests_asks_for_a_word() -> None:
    async with driven() as one:
        worker_id = one.source.snapshot.workers[0].id  # type: ignore[union-attr]
        await one.press("x", "x")
        assert "type w-0000" in one.text
        await one.press("q", "enter")
        assert "that is not w-0000" in one.text
        await one.press("backspace", *"w-0000", "enter")
        assert one.source.controls.performed == [Remove(worker_id, cuts=True)]


@tui_test
async def test_enter_takes_the_default_and_arrows_another() -> None:
    async with driven() as one:
        worker_id = one.source.snapshot.workers[0].id  # type: ignore[union-attr]
        await one.press("x", "enter")
        assert one.source.controls.performed == [Remove(worker_id)]
        await one.press("x", "down", "down", "enter")
        assert one.app.screen is one.app.main
        assert len(one.source.controls.performed) == 1


@tui_test
async def test_an_attached_ui_quits_without_asking() -> None:
    async with driven(FakeSource(pictures.picture(), is_local=False)) as one:
        await one.press("q")
        assert one.app.return_value == 0


@tui_test
async def test_ctrl_c_is_the_way_out_of_everything() -> None:
    for opened in (["question_mark"], ["a"], ["slash"], ["x"], ["ctrl+p"], ["enter"]):
        async with driven(FakeSource(pictures.picture(), is_local=False)) as one:
            await one.press(*opened, "ctrl+c")
            assert one.app.return_value == 0, opened


@tui_test
async def test_ctrl_q_does_nothing_and_a_keymap_cannot_take_ctrl_c() -> None:
    async with driven(FakeSource(pictures.picture(), is_local=False), keymap={"quit": "f9"}) as one:
        await one.press("ctrl+q", "q")
        assert one.app.is_running
        assert one.app.return_value is None
        await one.press("ctrl+c")
        assert one.app.return_value == 0


@tui_test
async def test_letters_typed_into_a_field_are_no_commands() -> None:
    async with driven() as one:
        await one.press("slash", *"dqxz1")
        assert one.app.main.view.filter_text == "dqxz1"
        assert one.app.screen is one.app.main
        assert one.source.controls.performed == []


@tui_test
async def test_a_wrong_filter_says_so_in_its_place_and_the_old_one_stays() -> None:
    async with driven() as one:
        await one.press("slash", *"err:")
        await one.press("x")
        line = one.text.splitlines()[-2]
        assert "err:x" in line
        assert "is a number" in line
        await one.press("enter")  # what was typed stays, and nothing it began with is in force
        assert "err:x" in one.text.splitlines()[-2]
        assert one.app.main.view.filter_text == ""
        await one.press("backspace", "1", "enter")
        assert one.app.main.view.filter_text == "err:1"
        await one.press("slash", ":", "enter")
        assert one.app.main.view.filter_text == "err:1"
        await one.press("escape")
        assert one.app.main.view.filter_text == "err:1"
        assert not one.app.main.filter_bar.display


@tui_test
async def test_a_filter_that_is_being_typed_stays_with_its_view() -> None:
    async with driven() as one:
        await one.press("slash", *"10.0.0.13", "tab")
        assert one.app.main.active == "requests"
        assert not one.app.main.filter_bar.display
        assert one.app.main.view.filter_text == ""
        await one.press("slash", *"age:>1s", "shift+tab")
        assert one.app.main.view.filter_text == "10.0.0.13"
        assert "workers 1 of 14" in one.text
        await one.press("2")
        assert one.app.main.view.filter_text == "age:>1s"
        await one.press("1", "slash", *" err:", "tab")  # no filter yet
        await one.press("1")
        assert one.app.main.view.filter_text == "10.0.0.13"
        await one.press("slash")
        assert "10.0.0.13 err:" in one.text.splitlines()[-2]
        await one.press("escape")
        assert one.app.main.view.filter_text == "10.0.0.13"
        await one.press("slash")
        assert "err:" not in one.text.splitlines()[-2]


@tui_test
async def test_a_filter_taken_back_elsewhere_is_not_typed_on() -> None:
    async with driven() as one:
        await one.press("slash", *"sta", "tab", "1", "escape", "slash")
        assert one.app.main.view.filter_text == ""
        assert "sta" not in one.text.splitlines()[-2].split()


@tui_test
async def test_the_cursor_stays_on_its_worker() -> None:
    async with driven() as one:
        await one.press("down", "down")
        before = one.app.selected().worker
        assert before is not None
        one.source.snapshot = msgspec.structs.replace(
            pictures.picture(step=3), workers=pictures.picture(step=3).workers[::-1]
        )
        await one.tick()
        after = one.app.selected().worker
        assert after is not None
        assert after.id == before.id


@tui_test
async def test_a_worker_that_is_removed_while_it_is_looked_at() -> None:
    async with driven() as one:
        await one.press("end", "enter")
        await one.tick()
        one.source.snapshot = pictures.picture(5)
        await one.tick()
        assert isinstance(one.app.screen, WorkerScreen)
        assert "does not have this worker any more" in one.text
        await one.press("d")
        assert "no worker is selected" in one.toasts[-1]


@tui_test
async def test_until_a_workers_own_list_comes_those_among_the_oldest_are_seen() -> None:
    async with driven() as one:
        worker_id = one.source.snapshot.requests[0].worker_id  # type: ignore[union-attr]
        own = [r for r in one.source.snapshot.requests if r.worker_id == worker_id]  # type: ignore[union-attr]
        await one.press("2", "home", "enter")
        await one.tick()
        assert one.source.focused == worker_id
        assert f"its requests {len(own)}" in one.text
        shown = pictures.picture(focus=worker_id)
        assert shown.focus is not None
        one.source.snapshot = shown
        await one.tick()
        assert f"its requests {len(shown.focus.requests)}" in one.text


@tui_test
async def test_the_mouse_goes_everywhere() -> None:
    async with driven(FakeSource(pictures.picture(), is_local=False)) as one:
        await one.pilot.click("#workers-table", offset=(10, 5))
        await one.settle()
        selected = one.app.selected().worker
        assert selected is not None
        assert selected.url == "http://10.0.0.13:30000"
        await one.pilot.double_click("#workers-table", offset=(10, 4))
        await one.settle()
        assert isinstance(one.app.screen, WorkerScreen)
        await one.press("escape")
        await one.pilot.click("#workers-table", offset=(25, 1))  # the title of a column
        await one.settle()
        assert "WORKER▲" in one.text
        await one.pilot.click("#tabs", offset=(15, 0))
        await one.settle()
        assert one.app.main.active == "requests"
        await one.pilot.click("#footer", offset=(10, 0))
        await one.settle()
        assert one.app.return_value == 0


SIZES = [(200, 50), (80, 24), (59, 13), (20, 5), (1, 1), (120, 40)]
PLACES = [["1"], ["2"], ["3"], ["4"], ["5"], ["6"], ["1", "enter"], ["x"], ["question_mark"]]


@pytest.mark.parametrize("keys", PLACES, ids="-".join)
@tui_test
async def test_every_size_can_be_lived_in(keys: list[str]) -> None:
    async with driven(FakeSource(pictures.picture(troubled=True))) as one:
        await one.press(*keys)
        for size in SIZES:
            await one.pilot.resize_terminal(*size)
            await one.tick()
            lines = one.text.splitlines()
            assert len(lines) <= size[1]
            assert all(len(line) <= size[0] for line in lines)
        await one.press("escape", "1")
        await one.tick()
        assert "10.0.0.10:30000" in one.text


IN_ASCII = (
    ["1"], ["2"], ["3"], ["4"], ["5"], ["6"], ["1", "end", "enter"], ["question_mark"],
    ["1", "x", "x"], ["z"], ["q"], ["a", "x", "enter"], ["slash", *"err:x"], ["ctrl+p"], ["t"],
)  # fmt: skip


@pytest.mark.parametrize("size", [(120, 40), (80, 24)], ids=str)
@tui_test
async def test_ascii_means_ascii_on_every_screen(size: tuple[int, int]) -> None:
    source = FakeSource(pictures.picture(60, troubled=True))
    async with driven(source, uses_ascii=True, size=size) as one:
        for keys in IN_ASCII:
            await one.press(*keys)
            source.link = LOST
            await one.tick()
            assert one.text.isascii(), (keys, sorted({c for c in one.text if not c.isascii()}))
            source.link = Link(LinkState.LIVE, NOW)
            await one.press("escape", "escape")


@tui_test
async def test_an_empty_pool_in_ascii_and_where_a_token_is_needed() -> None:
    source = FakeSource(pictures.picture(0))
    look = Look(uses_ascii=True)
    app = look.app_for(source, needs_token=True)
    async with app.run_test(size=(120, 40)) as pilot:
        for _ in range(2):
            app.tick()
            await pilot.pause()
        shown = text_of(app)
    assert '-H "Authorization: Bearer $ADMIN_TOKEN"' in shown
    assert shown.isascii()


@tui_test
async def test_without_colour_the_words_and_marks_are_there() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_COLOR", "1")
        async with driven(FakeSource(pictures.picture(troubled=True))) as one:
            assert one.app.has_class("-mono")
            line = next(line for line in one.text.splitlines() if "10.0.0.13" in line)
            assert f"{UNICODE.states['quarantined']} quarantined" in line
            assert "unreachable" in line
            assert "5!" in line


@tui_test
async def test_sixteen_colours_are_the_terminals_own() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "linux")
        patch.delenv("COLORTERM")
        async with driven() as one:
            assert one.app.theme == "ansi-dark"


@tui_test
async def test_a_screenshot_into_a_closed_folder_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        folder.rmdir()
        async with driven() as one:
            await one.press("ctrl+s")
            assert one.toasts[-1].startswith("no screenshot: ")
            assert one.app.is_running


@tui_test
async def test_ticks_cause_no_layout() -> None:
    async with driven() as one:
        for view in ("1", "2", "3", "4", "5", "6"):
            await one.press(view)
            await one.tick()
            layouts: list[int] = []
            lay_out = one.app.screen._refresh_layout
            one.app.screen._refresh_layout = lambda *a, **k: layouts.append(1) or lay_out(*a, **k)  # type: ignore[method-assign,func-returns-value]  # noqa: B023
            for step in range(1, 6):
                one.source.snapshot = pictures.picture(step=step, troubled=step % 2 == 0)
                await one.tick()
            del one.app.screen._refresh_layout
            assert layouts == [], view


@tui_test
async def test_a_paused_display_keeps_counting_what_it_will_show() -> None:
    async with driven() as one:
        await one.press("p")
        for step in range(1, 30):
            one.source.snapshot = pictures.picture(step=step)
            await one.tick(1)
        await one.press("p")
        assert one.app.history.throughput_now() is not None


class Loud(FakeSource):
    """A source that breaks."""

    async def run(self) -> None:
        secret = "sk-very-secret"
        await asyncio.sleep(0)
        raise RuntimeError("the source broke" + secret[:0])


def test_a_crash_goes_to_the_host_without_local_variables(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def run() -> RouterTui:
        app = RouterTui(Loud(pictures.picture()))
        with pytest.raises(Exception, match="the source broke"):
            async with app.run_test() as pilot:
                await pilot.pause(0.2)
        return app

    app = asyncio.run(run())
    assert app._exception is not None
    assert app.return_code == 1
    said = capfd.readouterr()
    assert "sk-very-secret" not in said.out + said.err
    assert app._exit_renderables == []


@tui_test
async def test_a_theme_reaches_every_tone() -> None:
    async with driven(FakeSource(pictures.picture(troubled=True))) as one:
        table = one.app.main.query_one("#workers-table", LineTable)
        looks = []
        for theme in ("textual-dark", "textual-light", "textual-dark"):
            one.app.theme = theme
            await one.tick()
            looks.append((table.tone_style("bad").color, table.plain_style.bgcolor))
        assert looks[0] == looks[2]
        assert looks[0][0] != looks[1][0]
        assert looks[0][1] != looks[1][1]


@tui_test
async def test_one_question_at_a_time() -> None:
    async with driven() as one:
        await one.press("x", "x", "escape", "z")
        assert isinstance(one.app.screen, QuestionScreen)
        assert len(one.app.screen_stack) == 2


@tui_test
async def test_a_thousand_workers_format_only_what_is_in_view() -> None:
    async with driven(FakeSource(pictures.picture(1000))) as one:
        table = one.app.main.query_one("#workers-table", LineTable)
        assert table.row_count == 1000
        await one.press("end")
        assert "workers 1,000" in one.text
        selected = one.app.selected().worker
        assert selected is not None
        assert selected.id == one.source.snapshot.workers[-1].id  # type: ignore[union-attr]


@tui_test
async def test_the_keys_are_worked_out_only_when_something_about_them_changed() -> None:
    asked: list[str] = []
    source = FakeSource(pictures.picture(troubled=True))
    async with driven(source) as one:
        real = one.app.why_not

        def note(action: Action) -> str:
            asked.append(action.id)
            return real(action)

        one.app.why_not = note  # type: ignore[method-assign]
        for step in range(3):
            source.snapshot = pictures.picture(step=step, troubled=True)
            one.app.tick()
        assert asked == []
        one.app.query_one("#workers-table", LineTable).select(3)
        one.app.tick()
        assert "drain" in asked
