"""Every key of the registry does what its help says; an action without a test here fails."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from textual.command import CommandPalette

from miles_router.tui.actions import ACTIONS, Action
from miles_router.tui.app import RouterTui
from miles_router.tui.commands import (
    Abort,
    Add,
    ClearNamespace,
    Drain,
    Probe,
    Quarantine,
    Release,
    Remove,
    Sweep,
    Undrain,
)
from miles_router.tui.screens.entry import EntryScreen
from miles_router.tui.screens.helping import HelpScreen
from miles_router.tui.screens.questioning import QuestionScreen
from miles_router.tui.screens.worker import WorkerScreen
from miles_router.tui.source import Link, LinkState
from miles_router.tui.widgets.line_table import LineTable
from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import Driven, driven
from tests.tui.fake_source import NOW, FakeSource

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKS: dict[str, tuple[Any, dict[str, Any]]] = {}


def does(action_id: str, **source: Any) -> Callable[[Any], Any]:
    """Registers what is checked of one action, for each of its keys."""

    def register(check: Any) -> Any:
        CHECKS[action_id] = (check, source)
        return check

    return register


def id_of(place: int) -> str:
    return pictures.picture(troubled=True).workers[place].id


async def to_row(one: Driven, row: int) -> None:
    await one.press("home", *["down"] * row)


@does("help")
async def _(one: Driven, key: str) -> None:
    await one.press("2", key)
    assert isinstance(one.app.screen, HelpScreen)
    words = one.text.split()
    assert words.index("Abort") < words.index("Everywhere")  # those of the open view stand first
    await one.press("escape")
    assert not isinstance(one.app.screen, HelpScreen)


@does("quit")
async def _(one: Driven, key: str) -> None:
    await one.press(key)
    assert isinstance(one.app.screen, QuestionScreen)
    assert "in flight" in one.text
    await one.press("n")
    assert one.app.is_running
    assert not isinstance(one.app.screen, QuestionScreen)
    await one.press(key, key)  # the same key again means yes
    assert one.app.return_value == 0


@does("back")
async def _(one: Driven, key: str) -> None:
    await one.press("enter", key)
    assert one.app.screen is one.app.main
    assert one.source.focused is None
    await one.press("x", key)
    assert one.source.controls.performed == []
    await one.press("slash", "s", "t", "a", "enter", "slash", "x", key)
    assert one.app.main.view.filter_text == "sta"
    await one.press(key)
    assert one.app.main.view.filter_text == ""


def _shows(name: str) -> None:
    @does(f"view_{name}")
    async def _(one: Driven, key: str) -> None:
        await one.press("6" if name != "totals" else "1", key)
        assert one.app.main.active == name
        shown = [view.id for view in one.app.main.query("View") if view.display]
        assert shown == [f"view-{name}"]


for _name in ("workers", "requests", "cache", "events", "log", "totals"):
    _shows(_name)


@does("next_view")
async def _(one: Driven, key: str) -> None:
    seen = []
    for _ in range(6):
        await one.press(key)
        seen.append(one.app.main.active)
    assert seen == ["requests", "cache", "events", "log", "totals", "workers"]
    await one.press("home", "enter")
    seen = []
    for _ in range(3):
        await one.press(key)
        seen.append(str(one.app.screen.focused and one.app.screen.focused.id))
    assert seen == ["worker-fields", "worker-events", "worker-requests"]


@does("previous_view")
async def _(one: Driven, key: str) -> None:
    await one.press(key)
    assert one.app.main.active == "totals"


def _moves(action_id: str, start: tuple[str, ...], row: int) -> None:
    @does(action_id)
    async def _(one: Driven, key: str) -> None:
        await one.press(*start, key)
        selected = one.app.selected().worker
        assert selected is not None
        assert selected.id == id_of(row)


for _case in (
    ("up", ("end",), 12),
    ("down", (), 1),
    ("page_up", ("end",), 0),
    ("page_down", (), 13),
    ("first", ("end",), 0),
    ("last", (), 13),
):
    _moves(*_case)


@does("filter", troubled=True)
async def _(one: Driven, key: str) -> None:
    await one.press(key, *"state:quar", "enter")
    await one.tick()
    assert "workers 1 of 14" in one.text
    assert "10.0.0.13:30000" in one.text
    assert "10.0.0.14:30000" not in one.text
    for view, word in (("2", "requests"), ("4", "events"), ("5", "log")):
        await one.press(view, key, *"zzz", "enter")
        await one.tick()
        assert f"{word} 0 of " in one.text, view


@does("sort")
async def _(one: Driven, key: str) -> None:
    await one.press(key)
    assert "by attention" in one.text
    await one.press(key, key, key)
    inflight = [w.inflight for w in one.source.snapshot.workers]  # type: ignore[union-attr]
    first = one.app.main.view.table.keys[0]  # type: ignore[attr-defined]
    top = next(w for w in one.source.snapshot.workers if w.id == first)  # type: ignore[union-attr]
    assert "INFL▼" in one.text
    assert top.inflight == max(inflight)


@does("reverse")
async def _(one: Driven, key: str) -> None:
    table = one.app.main.view.table  # type: ignore[attr-defined]
    before = list(table.keys)
    await one.press(key)
    assert table.keys == before[::-1]


@does("pause")
async def _(one: Driven, key: str) -> None:
    await one.press(key)
    shown = one.text
    assert "paused" in shown
    one.source.snapshot = pictures.picture(9, step=50)
    await one.tick(1)
    assert one.text == shown
    await one.press(key)
    await one.tick()
    assert "workers 9" in one.text
    assert "paused" not in one.text


@does("faster")
async def _(one: Driven, key: str) -> None:
    await one.press(key)
    assert one.app.rate_hz == 6
    await one.press(*[key] * 9)
    assert one.app.rate_hz == one.source.rate_hz == 10


@does("slower")
async def _(one: Driven, key: str) -> None:
    await one.press(key)
    assert one.app.rate_hz == 4
    await one.press(*[key] * 9)
    assert one.app.rate_hz == one.source.rate_hz == 1


@does("theme")
async def _(one: Driven, key: str) -> None:
    before = one.app.theme
    await one.press(key)
    assert one.app.theme != before
    assert one.app.theme in one.toasts[-1]


@does("screenshot")
async def _(one: Driven, key: str) -> None:
    await one.press(key, key)
    folder = Path.cwd()
    assert [path.name for path in sorted(folder.iterdir())] == [
        "miles-router-1.svg",
        "miles-router-2.svg",
    ]
    assert one.toasts[-1] == f"screenshot: {folder / 'miles-router-2.svg'}"
    assert "10.0.0.13" in (folder / "miles-router-1.svg").read_text(encoding="utf-8")


@does("palette")
async def _(one: Driven, key: str) -> None:
    await one.press(key)
    assert isinstance(one.app.screen, CommandPalette)
    await one.press(*"totals")
    for _ in range(50):
        await one.pilot.pause(0.02)
        if "Shows sums" in one.text and "Drain" not in one.text:
            break
    await one.press("enter")
    assert one.app.main.active == "totals"


@does("reconnect", link=Link(LinkState.LOST, NOW - 42, "connection refused", NOW + 3))
async def _(one: Driven, key: str) -> None:
    await one.press(key)
    assert one.source.reconnects == 1


@does("details")
async def _(one: Driven, key: str) -> None:
    await to_row(one, 3)
    await one.press(key)
    await one.tick()
    assert isinstance(one.app.screen, WorkerScreen)
    assert one.source.focused == id_of(3)
    one.source.snapshot = pictures.picture(focus=id_of(3), step=1)
    await one.tick()
    assert "http://10.0.0.13:30000" in one.text
    assert "is quarantined" in one.text  # its history
    assert "rollout-0000-3" in one.text  # its requests
    await one.press("escape", "2", "home", key)
    assert isinstance(one.app.screen, WorkerScreen)
    assert one.source.focused == one.source.snapshot.requests[0].worker_id
    for view, title in (("4", "Event"), ("5", "Line of the log")):
        await one.press("escape", view, key)
        assert isinstance(one.app.screen, EntryScreen)
        assert title in one.text


@does("copy")
async def _(one: Driven, key: str) -> None:
    await one.press(key)
    assert one.app.clipboard == "http://10.0.0.10:30000"
    await one.press("2", key)
    assert one.app.clipboard == "rollout-0000-0"
    assert one.toasts[-1] == "rollout-0000-0: sent to the terminal's clipboard"


def _commands(action_id: str, row: int, expected: Any, *answers: str) -> None:
    @does(action_id, troubled=True)
    async def _(one: Driven, key: str) -> None:
        await to_row(one, row)
        await one.press(key, *answers)
        await one.settle()
        assert one.source.controls.performed == [expected]
        assert one.toasts[-1] == f"done: {action_id if action_id != 'add' else 'add'}"


_commands("drain", 4, Drain(id_of(4)))
_commands("undrain", 6, Undrain(id_of(6)))
_commands("quarantine", 4, Quarantine(id_of(4)), "y")
_commands("release", 3, Release(id_of(3)))
_commands("probe", 2, Probe(id_of(2)))
_commands("remove", 3, Remove(id_of(3)), "y")


@does("add")
async def _(one: Driven, key: str) -> None:
    await one.press(key, *"10.1.2.3", "enter")
    assert "the port is missing" in one.text
    await one.press(*":30000", "enter")
    assert one.source.controls.performed == [Add("http://10.1.2.3:30000")]
    assert one.app.screen is one.app.main
    assert one.toasts[-1] == "done: add"


@does("abort")
async def _(one: Driven, key: str) -> None:
    await one.press("2", "down", key)
    assert "Abort" in one.text
    await one.press("y")
    assert one.source.controls.performed == [Abort("req-000001")]


@does("sweep")
async def _(one: Driven, key: str) -> None:
    await one.press("3", key)
    assert one.source.controls.performed == [Sweep()]


@does("clear")
async def _(one: Driven, key: str) -> None:
    await one.press("3", "down", key)
    assert "Clear the token cache of team-b?" in one.text
    await one.press("y")
    assert one.source.controls.performed == [ClearNamespace("team-b")]


def test_every_action_is_tested() -> None:
    assert sorted(CHECKS) == sorted(action.id for action in ACTIONS)


KEYS = [(action.id, key) for action in ACTIONS for key in action.keys]


@pytest.mark.parametrize(("action_id", "key"), KEYS)
@tui_test
async def test_the_key_does_what_its_help_says(
    action_id: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check, options = CHECKS[action_id]
    picture = pictures.picture(troubled=options.get("troubled", False))
    source = FakeSource(picture, link=options.get("link"))
    async with driven(source) as one:
        await check(one, key)


@tui_test
async def test_keys_of_the_users_own_take_the_place_of_the_others() -> None:
    async with driven(keymap={"drain": "u", "undrain": "d", "help": "f9", "down": "j"}) as one:
        await one.press("j", "d")
        assert "Undrain:" in one.toasts[-1]
        await one.press("down", "u")
        assert one.source.controls.performed == [Drain(id_of(1))]
        await one.press("question_mark", "f1")
        assert one.app.screen is one.app.main
        await one.press("f9")
        assert isinstance(one.app.screen, HelpScreen)
        assert "F9" in one.text


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_can_have_another_key(action: Action) -> None:
    app = RouterTui(FakeSource(None))
    lists = LineTable()
    known = [
        binding.id
        for bindings in (app._bindings, lists._bindings)
        for _, binding in bindings
        if binding.id
    ]
    assert action.id in known
