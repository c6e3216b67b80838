"""A request body: what is kept, how it is framed, what ends it."""

from __future__ import annotations

from typing import Any

import pytest

from miles_router.errors import TooLarge
from miles_router.net.body import REPLAY_BYTES, ClientGone, RequestBody

CHUNKED = [(b"transfer-encoding", b"chunked")]


def length(size_bytes: int) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", b"%d" % size_bytes)]


def body_of(
    *pieces: bytes, headers: list[tuple[bytes, bytes]], max_bytes: int = 10**9, leaves: bool = False
) -> RequestBody:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    if not leaves:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    messages.append({"type": "http.disconnect"})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    return RequestBody(receive, headers, max_bytes=max_bytes)


async def wire(body: RequestBody) -> bytes:
    """All bytes of the body as a worker gets them."""
    data = body.framed_prefix()
    while (piece := await body.next_piece()) is not None:
        data += body.framed(piece)
    return data + body.framed_end()


@pytest.mark.parametrize("headers", [length(6), CHUNKED])
async def test_a_small_body_is_whole_and_has_a_length(headers: list[tuple[bytes, bytes]]) -> None:
    body = body_of(b"abc", b"def", headers=headers)
    await body.read_ahead()
    assert body.is_replayable
    assert body.prefix == b"abcdef"
    assert body.framing() == length(6)
    assert await wire(body) == b"abcdef"


async def test_no_body_has_no_framing() -> None:
    body = body_of(headers=[])
    await body.read_ahead()
    assert (body.framing(), await wire(body), body.is_replayable) == ([], b"", True)


async def test_an_empty_body_keeps_its_length() -> None:
    body = body_of(headers=length(0))
    await body.read_ahead()
    assert body.framing() == length(0)


async def test_a_large_body_with_a_length_keeps_it() -> None:
    size = REPLAY_BYTES + 10
    body = body_of(b"x" * (size - 3), b"abc", headers=length(size))
    await body.read_ahead()
    assert not body.is_replayable
    assert body.framing() == length(size)
    assert await wire(body) == b"x" * (size - 3) + b"abc"
    assert body.size_bytes == size


async def test_a_large_chunked_body_is_chunked_again() -> None:
    body = body_of(b"x" * (REPLAY_BYTES + 1), b"", b"abc", headers=CHUNKED)
    await body.read_ahead()
    assert body.framing() == CHUNKED
    data = await wire(body)
    assert data.startswith(b"%x\r\nxxx" % (REPLAY_BYTES + 1))
    assert data.endswith(b"x\r\n3\r\nabc\r\n0\r\n\r\n")


def test_a_declared_length_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(TooLarge):
        body_of(headers=length(11), max_bytes=10)


async def test_a_body_that_grows_beyond_the_limit_is_refused() -> None:
    body = body_of(b"x" * 6, b"x" * 5, headers=CHUNKED, max_bytes=10)
    with pytest.raises(TooLarge):
        await body.read_ahead()


async def test_a_client_that_leaves_before_the_end() -> None:
    body = body_of(b"abc", headers=length(10), leaves=True)
    with pytest.raises(ClientGone):
        await body.read_ahead()


async def test_waiting_for_the_client_to_leave() -> None:
    body = body_of(b"abc", headers=length(3))
    await body.read_ahead()
    await body.wait_client_gone()
