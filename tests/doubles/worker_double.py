"""Workers in memory whose every byte a test decides, and a dialer that reaches them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from miles_router.core.urlrules import AddressRules, WorkerUrl
from miles_router.errors import CannotDial, DialFailed, DialTimeout
from miles_router.net.dial import Dialer
from tests.doubles.memory_net import MemoryStream, memory_connection

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Sequence

MODEL_INFO = {"model_path": "m", "weight_version": "1", "is_generation": True}


@dataclass
class Seen:
    """A request as the worker got it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self) -> Any:
        return json.loads(self.body)


class Peer:
    """The worker's end of one connection."""

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    async def _more(self) -> bool:
        data = await self.stream.receive_some()
        self._buffer += data
        return bool(data)

    async def read_head(self) -> Seen | None:
        """The next request without its body; None at the end of the connection."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                return None
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        line, *fields = head.decode("latin-1").split("\r\n")
        method, target, _version = line.split(" ")
        pairs = [field.partition(": ") for field in fields]
        return Seen(method, target, [(name, value) for name, _, value in pairs], b"")

    async def read_body(self, seen: Seen) -> bytes:
        """All of the body; cut short where the connection ends."""
        if seen.header("transfer-encoding") is not None:
            return await self._read_chunks()
        size = int(seen.header("content-length") or 0)
        while len(self._buffer) < size and await self._more():
            pass
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        return body

    async def _read_chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                if not await self._more():
                    return body
            size = int(bytes(self._buffer).partition(b"\r\n")[0], 16)
            del self._buffer[: self._buffer.index(b"\r\n") + 2]
            while len(self._buffer) < size + 2 and await self._more():
                pass
            body += self._buffer[:size]
            del self._buffer[: size + 2]
            if size == 0:
                return body

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(
        self, body: bytes = b"{}", *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        """A whole answer."""
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def begin_chunked(self, *pieces: bytes) -> None:
        """The head of a streamed answer and its first pieces."""
        await self.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in pieces:
            await self.send(b"%x\r\n%b\r\n" % (len(piece), piece))


Answer = Callable[[Peer, Seen], Awaitable[None]]


async def echo(peer: Peer, seen: Seen) -> None:
    """Answer with what was sent."""
    await peer.answer(seen.body)


class WorkerDouble:
    """One worker: `answer` serves what is relayed; aborts and probes are answered here."""

    def __init__(self, nursery: trio.Nursery, answer: Answer = echo) -> None:
        self._nursery = nursery
        self.answer = answer
        self.reads_bodies = True
        self.answers_aborts = True  # else `answer` does
        self.is_refusing = False
        self.is_hanging = False
        self.seen: list[Seen] = []
        self.asked: list[Seen] = []  # on `routes`
        self.aborted: list[str] = []
        self.streams: list[MemoryStream] = []  # the router's ends
        self.capacity_bytes = 65_536
        self.routes: dict[str, tuple[int, bytes]] = {
            "/health": (200, b""),
            "/model_info": (200, json.dumps(MODEL_INFO).encode()),
        }

    @property
    def open_count(self) -> int:
        """Connections that the router has not closed."""
        return sum(not stream.is_closed for stream in self.streams)

    def connect(self) -> MemoryStream:
        near, far = memory_connection(self.capacity_bytes)
        self.streams.append(near)
        self._nursery.start_soon(self.serve, far)
        return near

    async def serve(self, stream: MemoryStream) -> None:
        peer = Peer(stream)
        try:
            while not stream.is_closed and (seen := await peer.read_head()) is not None:
                await self._serve_one(peer, seen)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            stream.shut()

    async def _serve_one(self, peer: Peer, seen: Seen) -> None:
        if seen.path == "/abort_request" and self.answers_aborts:
            seen.body = await peer.read_body(seen)
            self.aborted.append(seen.json()["rid"])
            await peer.answer()
        elif seen.path in self.routes:
            self.asked.append(seen)
            status, body = self.routes[seen.path]
            await peer.answer(body, status=status)
        else:
            if self.reads_bodies:
                seen.body = await peer.read_body(seen)
            self.seen.append(seen)
            await self.answer(peer, seen)


class MemoryDialer(Dialer):
    """Reaches the workers of a test by their ports."""

    def __init__(self, *, connect_timeout_s: float = 5.0) -> None:
        super().__init__(AddressRules.parse(()), connect_timeout_s=connect_timeout_s)
        self.workers: dict[int, WorkerDouble] = {}
        self.free_descriptors: int | None = None  # None: as many as are wanted
        self._timeout_s = connect_timeout_s

    async def connect(  # type: ignore[override]  # a stream in memory
        self, url: WorkerUrl, addresses: Sequence[ipaddress.IPv4Address | ipaddress.IPv6Address]
    ) -> MemoryStream:
        await trio.lowlevel.checkpoint()
        used = sum(double.open_count for double in self.workers.values())
        if self.free_descriptors is not None and used >= self.free_descriptors:
            raise CannotDial(f"cannot connect to {url}: no descriptor", reason="EMFILE")
        worker = self.workers.get(url.port)
        if worker is not None and worker.is_hanging:
            await trio.sleep(self._timeout_s)
            raise DialTimeout(f"{url}: no connection")
        if worker is None or worker.is_refusing:
            raise DialFailed(f"{url}: connection refused")
        return worker.connect()
