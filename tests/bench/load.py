"""The load of the relay's benchmark: raw sockets and epoll, some 20 us a request.

Two kinds. Closed: so many connections, each asks again as soon as it is answered. Open: requests
come when they come (Poisson), whatever became of those before, and are timed from when they were
due. An answer that is not a whole 200 ends the benchmark: it would count for nothing.
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES = 1_048_576
PATIENCE_S = 60.0
Address = tuple[str, int]


@dataclass(slots=True)
class Answers:
    """What came back. Seconds per answer: to its last byte, and to the first of its body."""

    times: list[float] = field(default_factory=list)
    first_times: list[float] = field(default_factory=list)
    size_bytes: int = 0
    took_s: float = 0.0

    @property
    def count(self) -> int:
        return len(self.times)

    @property
    def hz(self) -> float:
        return self.count / self.took_s


class Client:
    """One connection, kept alive; it asks one thing at a time."""

    __slots__ = ("_head", "_left", "_tail", "began", "first", "socket")

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.began = self.first = 0.0
        self._head = b""
        self._left: int | None = None  # of a body of known length
        self._tail = b""  # of a chunked body

    def ask(self, request: bytes, began: float) -> None:
        sent = self.socket.send(request)
        assert sent == len(request), "requests of a benchmark fit into a socket's buffer"
        self.began, self.first = began, 0.0
        self._head, self._left, self._tail = b"", None, b""

    def read(self, buffer: memoryview) -> tuple[int, bool]:
        """Bytes that have come, and whether the answer is complete."""
        size = self.socket.recv_into(buffer)
        assert size, f"the connection was closed in an answer: {self._head!r}"
        if self.first:
            return size, self._has_ended(buffer[:size])
        self._head += buffer[:size]
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return size, False
        assert head.startswith(b"HTTP/1.1 200"), self._head[:2000]
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        self._left = int(length) if length else None
        if not body and self._left != 0:
            return size, False
        self.first = time.monotonic()
        return size, self._has_ended(memoryview(body))

    def _has_ended(self, piece: memoryview) -> bool:
        if self._left is not None:
            self._left -= len(piece)
            assert self._left >= 0, "more came than was asked for"
            return self._left == 0
        self._tail = (self._tail + bytes(piece[-5:]))[-5:]
        return self._tail == b"0\r\n\r\n"


class Load:
    """Connections, and what comes back on them."""

    def __init__(self) -> None:
        self.answers = Answers()
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._buffer = memoryview(bytearray(READ_BYTES))

    def connect(self, address: Address) -> Client:
        client = Client(address)
        self._clients[client.socket.fileno()] = client
        self._epoll.register(client.socket, select.EPOLLIN)
        return client

    def answered(self, until: float | None = None) -> Iterator[Client]:
        """Clients whose answer is complete, of those heard of; waits for some, at most `until`.

        Raises:
            TimeoutError: there was no end given, and nothing came for long.
        """
        if until is None:
            found = self._epoll.poll(PATIENCE_S)
            if not found:
                raise TimeoutError(f"nothing came for {PATIENCE_S} s")
        else:  # an epoll waits in whole milliseconds, a select on it in microseconds
            select.select([self._epoll], [], [], max(0.0, until - time.monotonic()))
            found = self._epoll.poll(0)
        for descriptor, _events in found:
            client = self._clients[descriptor]
            size, is_complete = client.read(self._buffer)
            self.answers.size_bytes += size
            if is_complete:
                now = time.monotonic()
                self.answers.times.append(now - client.began)
                self.answers.first_times.append(client.first - client.began)
                yield client

    def close(self) -> None:
        for client in self._clients.values():
            client.socket.close()
        self._epoll.close()


def saturate(
    address: Address, requests: Iterator[bytes], *, connections: int, seconds: float
) -> Answers:
    """Closed load for `seconds`; what is asked then is waited for, and counted."""
    load = Load()
    clients = [load.connect(address) for _ in range(connections)]
    began = time.monotonic()
    until, asked = began + seconds, connections
    for client in clients:
        client.ask(next(requests), time.monotonic())
    while load.answers.count < asked:
        for client in load.answered():
            now = time.monotonic()
            if now < until:
                client.ask(next(requests), now)
                asked += 1
    load.answers.took_s = time.monotonic() - began
    load.close()
    return load.answers


def arrive(
    addresses: list[Address], requests: Iterator[bytes], *, hz: float, seconds: float, seed: int
) -> Answers:
    """Open load for `seconds`, on as many connections as it takes; the same for the same `seed`."""
    load, chance = Load(), random.Random(seed)
    idle: dict[Address, deque[Client]] = {address: deque() for address in addresses}
    for address, clients in idle.items():
        clients.extend(load.connect(address) for _ in range(32 // len(addresses)))
    began = time.monotonic()
    due, asked, until = began + 0.01, 0, began + seconds
    home: dict[Client, Address] = {}
    while due < until or load.answers.count < asked:
        now = time.monotonic()
        if due <= now and due < until:
            address = chance.choice(addresses)
            client = idle[address].pop() if idle[address] else load.connect(address)
            home[client] = address
            client.ask(next(requests), due)
            asked += 1
            due += chance.expovariate(hz)
            continue
        for client in load.answered(due if due < until else None):
            idle[home.pop(client)].append(client)
    load.answers.took_s = time.monotonic() - began
    load.close()
    return load.answers


def waves(
    load: Load,
    address: Address,
    requests: Iterator[bytes],
    *,
    connections: int,
    rounds: int,
    over_s: float,
) -> Answers:
    """`connections` that each ask `rounds` times, and begin within `over_s` of each other.

    They stay open until `load` is closed.
    """
    began = time.monotonic()
    starts = [(began + over_s * place / connections, place) for place in range(connections)]
    left: dict[Client, int] = {}
    while starts or left:
        while starts and starts[0][0] <= time.monotonic():
            heapq.heappop(starts)
            client = load.connect(address)
            left[client] = rounds - 1
            client.ask(next(requests), time.monotonic())
        for client in load.answered(starts[0][0] if starts else None):
            if left[client]:
                left[client] -= 1
                client.ask(next(requests), time.monotonic())
            else:
                del left[client]
    load.answers.took_s = time.monotonic() - began
    return load.answers
