"""Pictures of every screen in every state and size, against stored ones.

UPDATE_SNAPSHOTS=1 stores new ones; look at them before they are committed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from miles_router.tui.source import Link, LinkState
from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import driven
from tests.tui.fake_source import NOW, FakeSource
from tests.tui.screen_svg import picture_of

STORED = Path(__file__).parent / "snapshots"
SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x50": (200, 50)}
PAST_S = 120


@dataclass(frozen=True)
class State:
    """How a router may stand."""

    workers: int = 14
    troubled: bool = False
    is_lost: bool = False
    is_read_only: bool = False

    def source(self, step: int) -> FakeSource:
        at = NOW + PAST_S
        link = Link(LinkState.LOST, at - 42, "connection refused", at + 3) if self.is_lost else None
        return FakeSource(self.picture(step), link=link)

    def picture(self, step: int) -> Any:
        has_cache = self.workers > 0
        return pictures.picture(
            self.workers, step=step, troubled=self.troubled, has_cache=has_cache
        )


STATES = {
    "empty": State(workers=0),
    "normal": State(),
    "troubled": State(troubled=True),
    "disconnected": State(troubled=True, is_lost=True),
    "read-only": State(is_read_only=True),
}
SCREENS = {
    "workers": ["1"],
    "requests": ["2"],
    "cache": ["3"],
    "events": ["4"],
    "log": ["5"],
    "totals": ["6"],
}
# What stands in front does not depend on the state of the router.
IN_FRONT = {
    "worker": [*["down"] * 6, "enter"],
    "help": ["question_mark"],
    "event": ["4", "end", "up", "enter"],
}
# These look the same on a larger screen.
SMALL = {
    "remove": ["x", "x"],
    "quarantine": ["z"],
    "add": ["a", "x", "enter"],
    "filter": ["slash", *"err:x"],
    "quit": ["q"],
}
CASES = [
    *((screen, state, size) for screen in SCREENS for state in STATES for size in SIZES),
    *((screen, "troubled", size) for screen in IN_FRONT for size in SIZES),
    *((screen, "troubled", "80x24") for screen in SMALL),
]


def compare(name: str, picture: str) -> None:
    path = STORED / f"{name}.svg"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        STORED.mkdir(exist_ok=True)
        path.write_text(picture, encoding="utf-8")
        return
    assert path.is_file(), f"no {path.name}: UPDATE_SNAPSHOTS=1 makes it"
    if path.read_text(encoding="utf-8") != picture:
        found = Path(os.environ.get("TMPDIR", "/tmp")) / f"{name}.svg"
        found.write_text(picture, encoding="utf-8")
        pytest.fail(f"{path} differs from {found}: look at both; UPDATE_SNAPSHOTS=1 takes the new")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("state", STATES)
@tui_test
async def test_views(state: str, size: str) -> None:
    given = STATES[state]
    async with driven(given.source(0), size=SIZES[size], is_read_only=given.is_read_only) as one:
        for second in range(PAST_S):
            one.now[0] += 1
            one.app.history.take(given.picture(second * 5), one.now[0])
        one.source.snapshot = given.picture((PAST_S - 1) * 5)
        for screen, keys in SCREENS.items():
            await one.press(*keys)
            await one.tick(0)
            compare(f"{screen}-{state}-{size}", picture_of(one.app))


@pytest.mark.parametrize("size", SIZES)
@tui_test
async def test_what_stands_in_front(size: str) -> None:
    given = STATES["troubled"]
    async with driven(given.source(0), size=SIZES[size]) as one:
        for second in range(PAST_S):
            one.now[0] += 1
            one.app.history.take(given.picture(second * 5), one.now[0])
        one.source.snapshot = given.picture((PAST_S - 1) * 5)
        one.app.animation_level = "none"
        shown = {**IN_FRONT, **(SMALL if size == "80x24" else {})}
        for screen, keys in shown.items():
            await one.press("1", "home", *keys)
            await one.tick(0)
            picture = picture_of(one.app)
            await one.press("escape", "escape")  # a word that is typed takes one
            compare(f"{screen}-troubled-{size}", picture)


def test_no_picture_is_left_over() -> None:
    wanted = {f"{screen}-{state}-{size}" for screen, state, size in CASES}
    assert {path.stem for path in STORED.glob("*.svg")} == wanted
