"""A client that shows every byte of an answer, and a worker behind memory streams for it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from miles_router.sim import SimSettings, Worker, open_worker, serve_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class ConnectionEnded(Exception):
    """The server closed the connection; what came before is the message."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def events(self) -> list[Any]:
        """The events of a stream; the last must be [DONE]."""
        *events, done, rest = self.body.decode().split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]


class RawClient:
    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._buffer = b""

    async def send(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {target} HTTP/1.1", "Host: worker"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        await self.stream.send_all(head + (b"" if body is None else data))

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise ConnectionEnded(self._buffer)
        self._buffer += data

    async def until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            await self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        status_line, *lines = (await self.until(b"\r\n\r\n")).decode().split("\r\n")
        pairs = [line.partition(": ") for line in lines]
        return int(status_line.split()[1]), [(name, value) for name, _, value in pairs]

    async def chunk(self) -> bytes:
        size = int(await self.until(b"\r\n"), 16)
        data = await self.exactly(size)
        assert await self.exactly(2) == b"\r\n"
        return data

    async def receive(self, method: str = "GET") -> Answer:
        status, headers = await self.head()
        given = {name.lower(): value for name, value in headers}
        body = b""
        if method == "HEAD" or status in {204, 304}:
            pass
        elif given.get("transfer-encoding") == "chunked":
            while piece := await self.chunk():
                body += piece
        elif "content-length" in given:
            body = await self.exactly(int(given["content-length"]))
        else:
            body = await self.rest()
        return Answer(status, headers, body)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        try:
            while True:
                await self._more()
        except ConnectionEnded:
            found, self._buffer = self._buffer, b""
            return found

    async def request(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        await self.send(method, target, body, headers)
        return await self.receive(method)

    async def post(self, target: str, body: Any) -> Answer:
        return await self.request("POST", target, body)

    async def get(self, target: str) -> Answer:
        return await self.request("GET", target)

    async def next_event(self) -> Any:
        """The next event of a stream whose head has been read, one chunk each."""
        return json.loads((await self.chunk()).removeprefix(b"data: "))


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[RawClient]:
    """A client on a real socket."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        yield RawClient(stream)


@dataclass(frozen=True)
class Bench:
    """A worker and the way to connect to it without sockets."""

    worker: Worker
    nursery: trio.Nursery
    keep_alive_s: float

    def connect(self) -> RawClient:
        ours, theirs = trio.testing.memory_stream_pair()

        async def serve() -> None:
            await serve_stream(self.worker, theirs, keep_alive_s=self.keep_alive_s)

        self.nursery.start_soon(serve)
        return RawClient(ours)

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def open_bench(
    settings: SimSettings | None = None, *, keep_alive_s: float = 1e9
) -> AsyncIterator[Bench]:
    async with open_worker(settings or SimSettings()) as worker, trio.open_nursery() as nursery:
        yield Bench(worker, nursery, keep_alive_s)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_client(settings: SimSettings | None = None) -> AsyncIterator[RawClient]:
    async with open_bench(settings) as bench:
        yield bench.connect()
