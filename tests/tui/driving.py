"""Runs the app on a fake source with a clock that tests turn."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from textual import events
from textual.keys import _character_to_key

from miles_router.tui.app import RouterTui
from tests.tui import pool_pictures as pictures
from tests.tui.fake_source import NOW, FakeSource
from tests.tui.screen_svg import text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from textual.pilot import Pilot

MEDIUM = (120, 40)
AFTER = 2  # a command is carried out by a task of its own, and answered by another message


def key_event(key: str) -> events.Key:
    """As a terminal's driver makes it, of a character or the name of a key."""
    name = _character_to_key(key) if len(key) == 1 and not key.isalnum() else key
    return events.Key(name, key if len(key) == 1 else None)


@dataclass
class Driven:
    """An app in a headless terminal."""

    app: RouterTui
    pilot: Pilot
    source: FakeSource
    now: list[float]

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other was dealt with."""
        for key in keys:
            self.app.post_message(key_event(key))
            await self.settle()

    async def settle(self) -> None:
        """Let all keys that were sent have their turns, and what they lead to be dealt with.

        Pilot's own way waits until the process uses no time, which takes ten times as long.
        """
        await self.pilot.pause(0)
        while not (self.app.turns.is_over or self.app._exit):
            await self.pilot.pause(0)
        for _ in range(AFTER):
            await self.pilot.pause(0)

    async def tick(self, seconds: float = 0.2) -> None:
        """Time goes on, and the display takes notice."""
        self.now[0] += seconds
        self.app.tick()
        await self.settle()

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return text_of(self.app)

    @property
    def toasts(self) -> list[str]:
        """What the app said, oldest first."""
        return [one.message for one in self.app._notifications]


@asynccontextmanager
async def driven(
    source: FakeSource | None = None, *, size: tuple[int, int] = MEDIUM, **options: Any
) -> AsyncIterator[Driven]:
    """The app on `source` (a pool of 14 workers, if it is None); its own timer stands still."""
    now = [NOW]
    given = FakeSource(pictures.picture()) if source is None else source
    app = RouterTui(given, clock=lambda: now[0], tz=UTC, **options)
    async with app.run_test(size=size) as pilot:
        assert app._timer is not None
        app._timer.stop()
        one = Driven(app, pilot, given, now)
        await one.tick(0)
        yield one
