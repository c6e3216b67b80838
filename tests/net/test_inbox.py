"""The messages for one call of the app, also where the server's own word of the end is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from miles_router.net.inbox import Inbox

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

PIECE = {"type": "http.request", "body": b"a", "more_body": True}
GONE = {"type": "http.disconnect"}


async def test_what_has_come_is_given_out_before_the_disconnect(autojump_clock: Clock) -> None:
    put, take = trio.open_memory_channel[dict[str, Any]](4)
    inbox = Inbox(take.receive)
    for _ in range(3):
        put.send_nowait(PIECE)
    inbox.end()
    with trio.fail_after(1000):
        assert [await inbox.receive() for _ in range(5)] == [PIECE] * 3 + [GONE] * 2


async def test_an_app_that_waits_is_told(autojump_clock: Clock) -> None:
    put, take = trio.open_memory_channel[dict[str, Any]](4)
    inbox = Inbox(take.receive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.testing.wait_all_tasks_blocked)

        async def end() -> None:
            await trio.sleep(1)
            inbox.end()

        nursery.start_soon(end)
        with trio.fail_after(5):
            assert await inbox.receive() == GONE
    put.close()


async def test_without_an_end_it_waits(autojump_clock: Clock) -> None:
    put, take = trio.open_memory_channel[dict[str, Any]](4)
    inbox = Inbox(take.receive)
    with trio.move_on_after(1000) as waiting:
        await inbox.receive()
    assert waiting.cancelled_caught
    put.send_nowait(PIECE)
    assert await inbox.receive() == PIECE
