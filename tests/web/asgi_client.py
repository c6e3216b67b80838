"""A client that calls an ASGI app as Hypercorn does, and shows every message that comes back."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from miles_router.web.replies import App

NEAR = ("127.0.0.1", 40000)


@dataclass
class Answer:
    """What came back. `is_complete` is False for an answer that was cut."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    is_complete: bool = False

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        found = [value.decode() for key, value in self.headers if key.decode().lower() == name]
        assert len(found) < 2, f"{name} is there {len(found)} times"
        return found[0] if found else None

    @property
    def error(self) -> dict[str, Any]:
        """The error object, in the one shape that errors have."""
        assert self.header("content-type") == "application/json"
        value = self.json()
        assert set(value) == {"error"}
        assert isinstance(value["error"]["code"], str)
        assert value["error"]["message"]
        found: dict[str, Any] = value["error"]
        return found


class Call:
    """One request under way."""

    def __init__(self, scope: dict[str, Any], pieces: list[bytes]) -> None:
        self.scope = scope
        self.answer = Answer()
        self.is_over = trio.Event()
        self._pieces = pieces
        self._left = trio.Event()
        self._put, self._chunks = trio.open_memory_channel[bytes](1000)
        self._started = trio.Event()

    def leave(self) -> None:
        """The client closes its connection."""
        self._left.set()

    async def receive(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        answer = self.answer
        assert not answer.is_complete, f"{message['type']} after the end of the answer"
        if message["type"] == "http.response.start":
            assert answer.status == 0, "a second start"
            answer.status = message["status"]
            answer.headers = list(message.get("headers", ()))
            self._started.set()
            return
        assert message["type"] == "http.response.body"
        assert answer.status, "a body before the start"
        piece = message.get("body", b"")
        answer.body += piece
        answer.is_complete = not message.get("more_body", False)
        if piece:
            self._put.send_nowait(piece)

    async def start(self) -> Answer:
        """Wait for the head of the answer."""
        await self._started.wait()
        return self.answer

    async def chunk(self) -> bytes:
        """The next piece of the body."""
        return await self._chunks.receive()


class AsgiClient:
    """Requests to `app`; `headers` go along with each."""

    def __init__(
        self, app: App, *, headers: dict[str, str] | None = None, address: tuple[str, int] = NEAR
    ) -> None:
        self._app = app
        self._headers = headers or {}
        self._address = address

    def _call(self, method: str, target: str, body: Any, headers: dict[str, str]) -> Call:
        path, _, query = target.partition("?")
        data = body if isinstance(body, bytes | list) else json.dumps(body).encode()
        pieces: list[bytes] = [] if body is None else data if isinstance(data, list) else [data]
        given = {"host": "router", **self._headers, **headers}
        if body is not None and not isinstance(data, list):
            given["content-length"] = str(len(data))
        elif body is not None:
            given["transfer-encoding"] = "chunked"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.1"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in given.items()],
            "client": self._address,
            "server": ("127.0.0.1", 30000),
            "state": {},
            "extensions": {},
        }
        return Call(scope, pieces or [b""])

    async def request(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One exchange. `body`: bytes, a list of pieces (chunked), or a value sent as JSON."""
        call = self._call(method, target, body, headers or {})
        await self._app(call.scope, call.receive, call.send)
        return call.answer

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.request("GET", target, headers=headers)

    async def post(self, target: str, body: Any = None, **headers: str) -> Answer:
        return await self.request("POST", target, body, headers)

    async def delete(self, target: str, **headers: str) -> Answer:
        return await self.request("DELETE", target, headers=headers)

    @asynccontextmanager
    async def opened(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> AsyncIterator[Call]:
        """An exchange in the background; leaving the block closes the client's connection."""
        call = self._call(method, target, body, headers or {})

        async def run() -> None:
            await self._app(call.scope, call.receive, call.send)
            call.is_over.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield call
            call.leave()
