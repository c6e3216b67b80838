from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import trio
import trio.testing

from miles_router.sim import SimSettings
from miles_router.sim.misbehave import GARBAGE
from tests.sim.raw_client import Bench, ConnectionEnded, RawClient, open_bench

BODY = {"text": "a", "rid": "r", "sampling_params": {"max_new_tokens": 4, "ignore_eos": True}}


async def ask(bench: Bench, fault: str, **body: Any) -> RawClient:
    """A client that has sent a request to a worker with this fault."""
    bench.worker.add_fault(fault)
    client = bench.connect()
    await client.send("POST", "/generate", {**BODY, **body})
    return client


async def proper(bench: Bench) -> bytes:
    return (await bench.connect().post("/generate", BODY)).body


@pytest.mark.parametrize("kind", ["reset", "close"])
async def test_the_connection_ends_before_any_byte(kind: str) -> None:
    async with open_bench() as bench:
        client = await ask(bench, kind)
        assert await client.rest() == b""
        assert bench.worker.engine.total == 0
        assert (await bench.connect().post("/generate", BODY)).status == 200


async def test_hanging_ends_when_the_client_gives_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        client = await ask(bench, "hang")
        with trio.move_on_after(10_000) as waiting:
            await client.receive()
        assert waiting.cancelled_caught
        await client.stream.aclose()
        await bench.settle()
        assert bench.worker.stats.connections_open == 0


@pytest.mark.parametrize(("fault", "size"), [("truncate", None), ("truncate=10", 10)])
async def test_a_declared_length_is_not_reached(fault: str, size: int | None) -> None:
    async with open_bench(SimSettings(seed=1)) as bench:
        client = await ask(bench, fault)
        status, headers = await client.head()
        length = int(dict(headers)["content-length"])
        body = await client.rest()
        assert status == 200
        assert len(body) == (length // 2 if size is None else size)


async def test_a_chunked_body_lacks_its_end() -> None:
    async with open_bench() as bench:
        client = await ask(bench, "truncate_chunked=20")
        _, headers = await client.head()
        assert dict(headers)["transfer-encoding"] == "chunked"
        assert len(await client.chunk()) == 20
        assert await client.rest() == b""


async def test_a_stream_breaks_in_the_middle() -> None:
    async with open_bench() as bench:
        client = await ask(bench, "truncate_chunked", stream=True)
        await client.head()
        assert len((await client.next_event())["output_ids"]) == 1
        assert await client.rest() == b""
        await bench.settle()
        assert bench.worker.engine.client_gone == 1


async def test_garbage() -> None:
    async with open_bench() as bench:
        assert await (await ask(bench, "garbage")).rest() == GARBAGE


@pytest.mark.parametrize("stream", [True, False])
async def test_a_dribbled_answer_is_whole(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        client = await ask(bench, "slow:delay_s=1,bytes=50", stream=stream)
        found = await client.receive()
        assert trio.current_time() > 5
        last = found.events()[-1] if stream else found.json()
        assert len(last["output_ids"]) == 4
        assert (await client.get("/health")).status == 200


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (500, b"Internal Server Error"),
        (
            503,
            b'{"object":"error","message":"The request queue is full.","type":"503",'
            b'"param":null,"code":503}',
        ),
        (
            429,
            b'{"object":"error","message":"Too many requests.","type":"429",'
            b'"param":null,"code":429}',
        ),
    ],
)
async def test_statuses_in_sglangs_shapes(code: int, body: bytes) -> None:
    async with open_bench() as bench:
        client = await ask(bench, f"status={code}")
        found = await client.receive()
        assert (found.status, found.body) == (code, body)
        assert (await client.post("/generate", BODY)).status == 200


async def test_gzip() -> None:
    async with open_bench() as bench:
        found = await (await ask(bench, "gzip")).receive()
        assert found.header("content-encoding") == "gzip"
        assert len(json.loads(gzip.decompress(found.body))["output_ids"]) == 4


async def test_a_length_that_is_too_long() -> None:
    async with open_bench() as bench:
        client = await ask(bench, "long_length")
        with pytest.raises(ConnectionEnded):
            await client.receive()


async def test_a_length_that_is_too_short() -> None:
    async with open_bench() as bench:
        client = await ask(bench, "short_length=5")
        short = await client.receive()
        with pytest.raises(json.JSONDecodeError):
            short.json()
        left = await client.exactly(5)
        assert len(json.loads(short.body + left)["output_ids"]) == 4


@pytest.mark.parametrize(("kind", "media"), [("html", "text/html"), ("list", "application/json")])
async def test_bodies_nobody_expects(kind: str, media: str) -> None:
    async with open_bench() as bench:
        found = await (await ask(bench, kind)).receive()
        assert found.status == 200
        assert (found.header("content-type") or "").startswith(media)
        if kind == "list":
            assert isinstance(found.json(), list)


async def test_an_answer_before_the_body_is_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        bench.worker.add_fault("early")
        client = bench.connect()
        await client.send("POST", "/generate", None, {"Content-Length": "1000000"})
        found = await client.receive()
        assert (found.status, found.header("connection")) == (413, "close")
        assert await client.rest() == b""
        assert bench.worker.engine.total == 0


async def test_exit_without_a_process_of_its_own_is_an_error_of_the_test() -> None:
    async def run() -> None:
        async with open_bench() as bench:
            client = await ask(bench, "exit")
            await client.rest()

    with pytest.raises(BaseExceptionGroup) as group:
        await run()
    assert group.group_contains(RuntimeError, match="a process of its own")


async def test_an_old_client_gets_an_unframed_stream_and_the_end() -> None:
    async with open_bench() as bench:
        client = bench.connect()
        await client.stream.send_all(b"GET /sim/bytes?size=9&chunked=1 HTTP/1.0\r\n\r\n")
        found = await client.receive()
        assert found.header("transfer-encoding") is None
        assert len(found.body) == 9
        assert len(await proper(bench)) > 100
