"""A worker whose answers are made beforehand: `python -m tests.bench.fixed_worker FILE [OPTIONS]`.

What a benchmark of the router wants of a worker: next to no cost of its own, and as many workers in
one process as it likes, for they are addresses (127.0.0.1, 127.0.0.2, ...) on one port. FILE has an
answer a line; they are given in turn. `--delay-s` is slept before each, in place of a generation.
With `--chunks` an answer is a stream: so many times the line, one at once, then `--gap-s` apart.

The port is written to standard output when it listens. Ends with its parent's SIGTERM.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import select
import socket
import time
from pathlib import Path

MODEL = b'{"model_path":"bench","is_generation":true,"weight_version":"7"}'
HEAD = b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: application/json\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
READ_BYTES = 262_144
SEND_BYTES = 1_048_576


def address_of(number: int) -> str:
    """The host of a worker, counted from 0; there are addresses for some ten thousand."""
    return f"127.0.{number // 200}.{number % 200 + 1}"


def with_length(body: bytes) -> bytes:
    return HEAD + b"content-length: %d\r\n\r\n" % len(body) + body


def framed(piece: bytes) -> bytes:
    """One event of a stream, as a chunk of HTTP."""
    return b"%x\r\n%b\n\n\r\n" % (len(piece) + 2, piece)


class Peer:
    """One connection of a client; it asks one thing at a time."""

    __slots__ = ("_left", "received", "socket", "streamed")

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = accepted
        self.received = b""
        self.streamed = 0  # pieces of the present stream
        self._left = memoryview(b"")

    def take_request(self) -> bytes | None:
        """The request that has come; None while it has not come to its end."""
        head_end = self.received.find(b"\r\n\r\n") + 4
        if head_end < 4:
            return None
        head = self.received[:head_end].lower()
        start = head.find(b"\r\ncontent-length:")
        size = int(head[start + 17 : head.index(b"\r\n", start + 2)]) if start >= 0 else 0
        if len(self.received) < head_end + size:
            return None
        request, self.received = self.received, self.received[head_end + size :]
        return request

    def write(self, data: bytes) -> bool:
        """Write; False while the client has to take more first."""
        self._left = memoryview(bytes(self._left) + data if self._left else data)
        return self.write_on()

    def write_on(self) -> bool:
        try:
            while self._left:
                self._left = self._left[self.socket.send(self._left[:SEND_BYTES]) :]
        except BlockingIOError:
            return False
        return True


class Workers:
    """All workers of the process."""

    def __init__(self, answers: list[bytes], delay_s: float, chunks: int, gap_s: float) -> None:
        self._answers = itertools.cycle(
            [STREAM_HEAD + framed(one) if chunks else with_length(one) for one in answers]
        )
        self._piece = framed(answers[0]) if chunks else b""
        self._delay_s, self._chunks, self._gap_s = delay_s, chunks, gap_s
        self._due: list[tuple[float, int, Peer]] = []
        self._numbers = itertools.count()
        self._epoll = select.epoll()
        self._listeners: dict[int, socket.socket] = {}
        self._peers: dict[int, Peer] = {}

    def listen(self, count: int) -> int:
        """Listen at `count` addresses; the port of all."""
        port = 0
        for number in range(count):
            listener = socket.create_server((address_of(number), port), backlog=4096)
            listener.setblocking(False)
            port = listener.getsockname()[1]
            self._listeners[listener.fileno()] = listener
            self._epoll.register(listener, select.EPOLLIN)
        return port

    def serve(self) -> None:
        """Serve for ever."""
        while True:
            wait_s = max(0.0, self._due[0][0] - time.monotonic()) if self._due else -1
            for descriptor, events in self._epoll.poll(wait_s):
                if descriptor in self._listeners:
                    self._accept(self._listeners[descriptor])
                elif (peer := self._peers.get(descriptor)) is not None:
                    self._serve(peer, events)
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                self._go_on(heapq.heappop(self._due)[2])

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                accepted, _address = listener.accept()
            except BlockingIOError:
                return
            self._peers[accepted.fileno()] = Peer(accepted)
            self._epoll.register(accepted, select.EPOLLIN)

    def _serve(self, peer: Peer, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                if peer.write_on():
                    self._epoll.modify(peer.socket, select.EPOLLIN)
                return
            data = peer.socket.recv(READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._forget(peer)
            return
        peer.received += data
        if (request := peer.take_request()) is not None:
            self._answer(peer, request)

    def _forget(self, peer: Peer) -> None:
        self._peers.pop(peer.socket.fileno(), None)
        peer.socket.close()

    def _answer(self, peer: Peer, request: bytes) -> None:
        if request.startswith(b"GET "):
            self._write(peer, with_length(b"" if request.startswith(b"GET /health") else MODEL))
        elif self._delay_s:
            self._later(peer, self._delay_s)
        else:
            self._begin(peer)

    def _later(self, peer: Peer, wait_s: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + wait_s, next(self._numbers), peer))

    def _begin(self, peer: Peer) -> None:
        self._write(peer, next(self._answers))
        if self._chunks:
            peer.streamed = 1
            self._later(peer, self._gap_s)

    def _go_on(self, peer: Peer) -> None:
        """Something is due: the answer after its delay, or the next piece of a stream."""
        if not peer.streamed:
            self._begin(peer)
            return
        peer.streamed += 1
        is_last = peer.streamed >= self._chunks
        if is_last:
            peer.streamed = 0
        else:
            self._later(peer, self._gap_s)
        self._write(peer, self._piece + b"0\r\n\r\n" if is_last else self._piece)

    def _write(self, peer: Peer, data: bytes) -> None:
        try:
            if not peer.write(data):
                self._epoll.modify(peer.socket, select.EPOLLOUT)
        except OSError:
            self._forget(peer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="an answer a line")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--chunks", type=int, default=0, help="at least 2; 0: not streamed")
    parser.add_argument("--gap-s", type=float, default=0.0, help="between two chunks")
    chosen = parser.parse_args()
    answers = chosen.file.read_bytes().splitlines()
    workers = Workers(answers, chosen.delay_s, chosen.chunks, chosen.gap_s)
    print(workers.listen(chosen.workers), flush=True)
    workers.serve()


if __name__ == "__main__":
    main()
