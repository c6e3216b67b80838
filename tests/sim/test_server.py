from __future__ import annotations

import socket

import httpx
import pytest
import trio
import trio.testing

from miles_router.sim import SimSettings, main, running_sim
from tests.sim.raw_client import connected, open_bench, open_client


async def test_one_connection_carries_many_requests() -> None:
    async with open_bench() as bench:
        client = bench.connect()
        for _ in range(3):
            assert (await client.post("/generate", {"text": "a"})).status == 200
        assert bench.worker.stats.connections_total == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with open_client() as client:
        for number in range(3):
            await client.send("POST", f"/sim/echo?{number}", {"n": number})
        targets = [(await client.receive()).json()["target"] for _ in range(3)]
        assert targets == [f"/sim/echo?{number}" for number in range(3)]


async def test_an_idle_connection_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench(keep_alive_s=5) as bench:
        client = bench.connect()
        await client.get("/health")
        began = trio.current_time()
        assert await client.rest() == b""
        assert trio.current_time() - began == pytest.approx(5)


async def test_connection_close_is_honoured() -> None:
    async with open_client() as client:
        found = await client.request("GET", "/model_info", headers={"Connection": "close"})
        assert found.header("connection") == "close"
        assert await client.rest() == b""


async def test_what_is_not_http_is_refused() -> None:
    async with open_client() as client:
        await client.stream.send_all(b"hello?\r\n\r\n")
        found = await client.receive()
        assert (found.status, found.body) == (400, b"Invalid HTTP request received.")
        assert await client.rest() == b""


async def test_a_body_nobody_reads_does_not_disturb_the_next_request() -> None:
    async with open_client() as client:
        assert (await client.post("/health", {"a": 1})).status == 405
        assert (await client.get("/health")).status == 200


@pytest.mark.loopback
async def test_a_real_client_on_a_real_port() -> None:
    with trio.fail_after(20):
        async with running_sim() as sim, httpx.AsyncClient(base_url=sim.url) as client:
            found = await client.post("/generate", json={"text": "Hello"})
            assert found.status_code == 200
            assert found.json()["meta_info"]["prompt_tokens"] > 0


@pytest.mark.loopback
async def test_reset_is_a_real_reset() -> None:
    with trio.fail_after(20):
        async with running_sim(SimSettings(fault=("reset",))) as sim, connected(sim.port) as client:
            await client.send("POST", "/generate", {"text": "a"})
            with pytest.raises(trio.BrokenResourceError) as broken:
                await client.stream.receive_some(1)
            assert isinstance(broken.value.__cause__, ConnectionResetError)


@pytest.mark.loopback
async def test_refused_connections_and_the_same_port_afterwards() -> None:
    with trio.fail_after(20):
        async with running_sim() as sim:
            async with connected(sim.port) as client:
                await client.post("/sim/fault", {"fault": "refuse=0.3"})
            await trio.sleep(0.1)
            with pytest.raises(OSError, match="connect"):
                async with connected(sim.port):
                    raise AssertionError("connections should be refused")
            await trio.sleep(0.4)
            async with connected(sim.port) as client:
                assert (await client.get("/health")).status == 200


@pytest.mark.loopback
def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(SimSettings(port=port)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert error.count("\n") == 1


def test_a_fault_that_cannot_be_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SimSettings(fault=("explode",))) == 2
    assert capsys.readouterr().err.startswith("--fault: unknown fault 'explode'")
