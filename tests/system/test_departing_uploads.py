"""Clients that leave uploads of which nobody takes more: seen, ended, and aborted by their rid."""

from __future__ import annotations

import json
import random
import re
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from tests.system.rig import joined, prompt, serving, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.sim.raw_client import RawClient
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

# The weights that simulated workers begin with: others would make those stale.
MODEL = json.dumps({"model_path": "m", "weight_version": "default"}).encode()
MB = 1_000_000


class StuckWorker:
    """Healthy, and takes aborts; other requests it leaves unread until it `goes_on`."""

    def __init__(self) -> None:
        self.aborted: list[str] = []
        self.stuck = 0
        self.closed = 0  # before they were complete
        self.goes_on = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = await stream.receive_some(2048)
            if not piece:
                return
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        path = head.split(b" ")[1]
        if path == b"/abort_request":
            self.aborted.append(json.loads(body)["rid"])
        elif path not in {b"/health", b"/model_info"}:
            self.stuck += 1
            await self.goes_on.wait()
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            body = await self.read_all(stream, body, int(length[1]))
        answer = MODEL if path == b"/model_info" else sha256(body).hexdigest().encode()
        await stream.send_all(
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer)
        )

    async def read_all(self, stream: trio.SocketStream, body: bytes, length: int) -> bytes:
        try:
            while len(body) < length:
                piece = await stream.receive_some()
                if not piece:
                    raise trio.BrokenResourceError
                body += piece
        except trio.BrokenResourceError:
            self.closed += 1
            await trio.sleep_forever()
        return body


@asynccontextmanager
async def stuck_worker(router: Router) -> AsyncIterator[StuckWorker]:
    worker = StuckWorker()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, worker.serve, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        assert (await router.post("/workers?wait=10", {"url": url})).status == 200
        yield worker
        await router.post(f"/remove_worker?url={url}", {})
        nursery.cancel_scope.cancel()


async def begin_upload(client: RawClient, size: int, *, rid: str, for_s: float) -> None:
    """Write as much of a large `/generate` as is taken within `for_s`."""
    head = b"POST /generate HTTP/1.1\r\nHost: r\r\nContent-Length: %d\r\n\r\n" % size
    front = b'{"rid": "%b", "text": "' % rid.encode()
    with trio.move_on_after(for_s):
        await client.stream.send_all(head + front + b"x" * (size - len(front) - 2) + b'"}')
        await trio.sleep_forever()


# The larger ones do not fit into the kernels: the end of the connection lies behind what was not
# even sent. A client that stays long has that read on, and leaves later.
@pytest.mark.parametrize(
    ("size", "for_s"), [(5 * MB, 0.7), (12 * MB, 0.7), (12 * MB, 3.5), (40 * MB, 2.5)]
)
async def test_a_worker_that_is_stuck_does_not_hide_a_client_that_leaves(
    router: Router, size: int, for_s: float
) -> None:
    async with stuck_worker(router) as worker:
        async with router.connected() as client:
            await begin_upload(client, size, rid="stuck-1", for_s=for_s)
            assert worker.stuck == 1
            assert (await router.totals())["inflight"] == 1
        left_at = trio.current_time()
        await router.check_idle(timeout_s=4)
        await wait_until(lambda: worker.aborted == ["stuck-1"])
        assert trio.current_time() - left_at < 2.8, "two sweeps and what a busy machine adds"
        worker.goes_on.set()
        await wait_until(lambda: worker.closed == 1)


@pytest.mark.parametrize("pieces", [3, 4, 5])
async def test_pieces_that_just_fill_a_queue_do_not_hide_it_either(
    router: Router, pieces: int
) -> None:
    async with stuck_worker(router) as worker:
        async with router.connected() as client:
            head = b"POST /generate HTTP/1.1\r\nHost: r\r\nContent-Length: 80000000\r\n\r\n"
            await client.stream.send_all(head + b'{"rid": "full-1", "text": "' + b"x" * 4_194_304)
            await wait_until(lambda: worker.stuck == 1)
            await trio.sleep(0.5)
            for _ in range(pieces):
                await client.stream.send_all(b"y" * 1000)
                await trio.sleep(0.03)
        await router.check_idle(timeout_s=4)
        await wait_until(lambda: worker.aborted == ["full-1"])


async def test_an_upload_that_its_worker_takes_again_arrives_whole(router: Router) -> None:
    body = random.Random(1).randbytes(25 * MB)
    async with stuck_worker(router) as worker, router.connected() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, "POST", "/generate", body)
            await trio.sleep(3.5)  # long enough to be read on
            worker.goes_on.set()
        with trio.fail_after(10):
            answer = await client.receive()
    assert answer.body.decode() == sha256(body).hexdigest()


@pytest.mark.parametrize("size", [5 * MB, 12 * MB])
async def test_a_large_request_whose_client_left_the_queue_is_never_sent(
    router: Router, size: int
) -> None:
    async with router.connected() as client:
        await begin_upload(client, size, rid="queued-1", for_s=0.7)
        assert (await router.totals())["queued"] == 1
    left_at = trio.current_time()
    await router.check_idle(timeout_s=4)
    assert trio.current_time() - left_at < 2.8
    async with joined(router, SimSettings()) as (sim,):
        assert (await router.post("/generate", prompt())).status == 200
        assert sim.worker.stats.requests["/generate"] == 1


async def test_a_large_request_is_aborted_by_its_rid() -> None:
    async with (
        running_sim(SimSettings(tokens_per_s=20)) as sim,
        serving("--max-inflight-per-worker", "1", workers=[sim.url]) as router,
    ):
        answers: dict[str, Any] = {}

        async def ask(rid: str) -> None:
            body = {**prompt(tokens=600, rid=rid), "behind": "x" * 5 * MB}
            answers[rid] = await router.post("/generate", body)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "large-1")
            await wait_until(lambda: sim.worker.engine.live, timeout_s=10)
            nursery.start_soon(ask, "large-2")
            await router.wait_queued(1)
            for rid, is_queued in (("large-2", 1), ("large-1", 0)):
                told = (await router.post("/abort_request", {"rid": rid})).json()
                assert (told["matched"], told["queued_aborted"]) == (1, is_queued)
        reasons = {rid: one.json()["meta_info"]["finish_reason"] for rid, one in answers.items()}
        assert {reason["type"] for reason in reasons.values()} == {"abort"}
        assert [one["rid"] for one in sim.worker.stats.abort_requests] == ["large-1"]
