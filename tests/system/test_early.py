"""Answers that come before the request was read to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

if TYPE_CHECKING:
    from miles_router.sim import RunningSim
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback


@pytest.mark.parametrize("size", [1_000, 3_000_000, 8_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_early_refusal_reaches_a_client_that_is_still_sending(
    router: Router, sim: RunningSim, size: int, chunked: bool
) -> None:
    sim.worker.add_fault("early=413")
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    async with router.connected() as client, trio.open_nursery() as nursery:

        async def upload() -> None:
            await client.stream.send_all(
                b"POST /generate HTTP/1.1\r\nHost: r\r\n" + framing + b"\r\n\r\n"
            )
            try:
                for start in range(0, size, 50_000):
                    data = b"x" * min(50_000, size - start)
                    piece = b"%x\r\n%b\r\n" % (len(data), data) if chunked else data
                    await client.stream.send_all(piece)
                await client.stream.send_all(b"0\r\n\r\n" if chunked else b"")
            except trio.BrokenResourceError:
                pass

        nursery.start_soon(upload)
        with trio.fail_after(5):
            answer = await client.receive()
        nursery.cancel_scope.cancel()
    assert answer.status == 413
    assert answer.json()["message"] == "Refused before the body was read."


async def test_a_body_nobody_reads_leaves_no_connection_behind(
    router: Router, sim: RunningSim
) -> None:
    """Answers given before the body was read: a route that is none, with a large body."""
    before = router.descriptors
    for _ in range(3):
        async with router.connected() as client:
            with trio.move_on_after(1):
                await client.request("DELETE", "/health", b"x" * 2_000_000)
    await router.wait_descriptors(before)


async def test_a_connection_that_its_client_closed_is_closed_at_once(router: Router) -> None:
    before = router.descriptors
    for pause_s in (0.0, 0.001, 0.05):
        for _ in range(20):
            async with router.connected():
                pass
            async with router.connected() as client:
                assert (await client.get("/livez")).status == 200
                await trio.sleep(pause_s)
    await router.wait_descriptors(before + 1)
