"""A source of snapshots that a test sets by hand; its controls note what they are told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from miles_router.tui.commands import CommandRefused
from miles_router.tui.source import Link, LinkState
from tests.tui import pool_pictures as pictures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miles_router.core.events import Event
    from miles_router.core.log_ring import LogLine
    from miles_router.core.snapshot import Snapshot
    from miles_router.tui.commands import Command

NOW = 1_000.0  # monotonic seconds at which the tests' clocks begin


class FakeControls:
    """Notes commands; `refuses` is the reason with which the next ones fail."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.refuses = ""
        self.performed: list[Command] = []

    async def perform(self, command: Command) -> str:
        await asyncio.sleep(0)
        if self.refuses:
            raise CommandRefused(self.refuses)
        self.performed.append(command)
        return f"done: {type(command).__name__.lower()}"


class FakeSource:
    """Shows `snapshot` until a test puts another one in its place."""

    def __init__(
        self,
        snapshot: Snapshot | None,
        *,
        refusal: str = "",
        is_local: bool = True,
        link: Link | None = None,
    ) -> None:
        self.url = pictures.URL
        self.is_local = is_local
        self.controls = FakeControls(refusal)
        self.snapshot = snapshot
        self.link = link or Link(LinkState.LIVE, NOW)
        self.kept_events: Sequence[Event] = (
            () if snapshot is None else pictures.events(snapshot.workers)
        )
        self.kept_log: Sequence[LogLine] = () if snapshot is None else pictures.log_lines()
        self.focused: str | None = None
        self.reconnects = 0
        self.is_running = False
        self.rate_hz = 5.0

    def latest(self) -> Snapshot | None:
        return self.snapshot

    def events(self) -> Sequence[Event]:
        return self.kept_events

    def log_lines(self) -> Sequence[LogLine]:
        return self.kept_log

    def focus(self, worker_id: str | None) -> None:
        self.focused = worker_id

    def reconnect(self) -> None:
        self.reconnects += 1

    async def run(self) -> None:
        self.is_running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_running = False
