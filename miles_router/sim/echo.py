"""Routes under /sim/ that show what passed a relay: echo, bytes, statuses and uploads."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import trio

from miles_router.sim.http import Reply
from miles_router.sim.refusals import malformed
from miles_router.sim.route import Route, get

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from miles_router.sim.http import Request
    from miles_router.sim.worker import Worker

DEFAULT_PIECE_BYTES = 65_536
_STATUS_PREFIX = "/sim/status/"
_BLOCK = hashlib.shake_256(b"miles-router sim bytes").digest(1_048_583)


def pseudo_random_bytes(size: int, *, start: int = 0) -> bytes:
    """`size` bytes of a fixed sequence from `start` on, repeating after a prime near 1 MiB."""
    begin = start % len(_BLOCK)
    repeats = (begin + size) // len(_BLOCK) + 1
    return (_BLOCK * repeats)[begin : begin + size] if repeats > 1 else _BLOCK[begin : begin + size]


def _pieces(size: int, piece_bytes: int) -> Iterator[bytes]:
    for start in range(0, size, piece_bytes):
        yield pseudo_random_bytes(min(piece_bytes, size - start), start=start)


def _number(request: Request, name: str, default: float) -> float:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise malformed(f"{name} takes a number.") from None
    if not value >= 0:
        raise malformed(f"{name} must not be negative.")
    return value


async def _echo(_worker: Worker, request: Request) -> Reply:
    body = await request.body()
    return Reply.json(
        {
            "method": request.method,
            "target": request.raw_target.decode("latin-1"),
            "headers": [
                [name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers
            ],
            "body": base64.b64encode(body).decode(),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
    )


async def _dribble(size: int, piece_bytes: int, delay_s: float) -> AsyncGenerator[bytes, None]:
    for place, piece in enumerate(_pieces(size, piece_bytes)):
        if delay_s and place:
            await trio.sleep(delay_s)
        yield piece


async def _bytes(_worker: Worker, request: Request) -> Reply:
    size = int(_number(request, "size", 0))
    piece_bytes = max(1, int(_number(request, "chunk", DEFAULT_PIECE_BYTES)))
    body = _dribble(size, piece_bytes, _number(request, "delay_s", 0))
    headers = [("content-type", "application/octet-stream")]
    if request.query.get("chunked", "0") in {"0", "false"}:
        headers.append(("content-length", str(size)))
    return Reply(200, body, tuple(headers))


async def _status(_worker: Worker, request: Request) -> Reply:
    await request.body()
    text = request.path.removeprefix(_STATUS_PREFIX)
    if not (text.isdigit() and 200 <= int(text) <= 599):
        raise malformed("/sim/status/ is followed by a status from 200 to 599.")
    cookies = (("set-cookie", "first=1; Path=/"), ("set-cookie", "second=2; Path=/"))
    if int(text) in {204, 304}:
        return Reply(int(text), b"", cookies)
    reply = Reply.json({"status": int(text)}, int(text))
    return Reply(reply.status, reply.body, (*reply.headers, *cookies))


async def _upload(_worker: Worker, request: Request) -> Reply:
    rate = _number(request, "rate_bytes_per_s", 0)
    digest, size = hashlib.sha256(), 0
    async for piece in request.body_pieces():
        digest.update(piece)
        size += len(piece)
        if rate:
            await trio.sleep(len(piece) / rate)
    return Reply.json({"size": size, "sha256": digest.hexdigest()})


_ANY: frozenset[str] = frozenset()

ROUTES: dict[str, Route] = {
    "/sim/echo": Route(_ANY, _echo),
    "/sim/bytes": get(_bytes),
    "/sim/upload": Route(frozenset({"POST", "PUT"}), _upload),
}


def prefixed_route(path: str) -> Route | None:
    """The route of a path whose rest is a parameter."""
    if path.startswith(_STATUS_PREFIX):
        return Route(_ANY, _status)
    return Route(_ANY, _echo) if path.startswith("/sim/echo/") else None
