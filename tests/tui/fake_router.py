"""A router that exists only as httpx's transport: what it answers is set by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import msgspec

from tests.tui import pool_pictures as pictures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from miles_router.core.events import Event
    from miles_router.core.log_ring import LogLine


class FakeRouter:
    """Answers `/snapshot`, `/workers`, `/events` and `/log`.

    `asked` are the targets in order. `is_up` False: refuses connections; `odd`: what is answered
    instead; `broken`: what is raised. `token`: what the admin has to send.
    """

    def __init__(self) -> None:
        self.snapshot = pictures.picture(3)
        self.events: list[Event] = []
        self.lines: list[LogLine] = []
        self.asked: list[str] = []
        self.is_up = True
        self.token: str | None = None
        self.odd: httpx.Response | None = None
        self.broken: Exception | None = None
        self.hangs = False
        self.streams = 0
        self.news = asyncio.Event()

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def asked_for(self, path: str) -> list[str]:
        return [target for target in self.asked if target.partition("?")[0] == path]

    def restart(self, boot_id: str, *events: Event) -> None:
        """As a router that starts anew: other boot id, counts from 1."""
        self.events, self.lines = list(events), []
        self.change(boot_id=boot_id)

    def change(self, **fields: object) -> None:
        counts = {"last_event_seq": len(self.events), "log_seq": len(self.lines)}
        self.snapshot = msgspec.structs.replace(self.snapshot, **{**counts, **fields})
        self.tell()

    def tell(self) -> None:
        """Let streams see new events, or that the router is down."""
        self.news.set()
        self.news = asyncio.Event()

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode()
        self.asked.append(target)
        if not self.is_up:
            raise httpx.ConnectError("All connection attempts failed")
        if self.broken is not None:
            raise self.broken
        if self.hangs:
            await asyncio.sleep(3600)
        if self.odd is not None:
            return self.odd
        path, _, query = target.partition("?")
        given = request.headers.get("authorization")
        if self.token is not None and path != "/workers" and given != f"Bearer {self.token}":
            return httpx.Response(401, json={"error": {"code": "unauthorized", "message": "no"}})
        return self._routed(path, query)

    def _routed(self, path: str, query: str) -> httpx.Response:
        if path == "/snapshot":
            return httpx.Response(200, content=msgspec.json.encode(self.snapshot))
        if path == "/workers":
            listed = {"workers": self.snapshot.workers, "total": 3}
            return httpx.Response(200, content=msgspec.json.encode(listed))
        since = int(query.removeprefix("since="))
        if path == "/log":
            newer = [line for line in self.lines if line.seq > since]
            page = {"boot_id": self.snapshot.boot_id, "last_seq": len(self.lines), "lines": newer}
            return httpx.Response(200, content=msgspec.json.encode(page))
        assert path == "/events"
        return httpx.Response(200, content=self._stream(since))

    async def _stream(self, since: int) -> AsyncIterator[bytes]:
        self.streams += 1
        try:
            while self.is_up:
                news = self.news
                for event in self.events:
                    if event.seq > since:
                        since = event.seq
                        yield b"id: 1\ndata: %b\n\n" % msgspec.json.encode(event)
                await news.wait()
        finally:
            self.streams -= 1
        raise httpx.ReadError("connection lost")
