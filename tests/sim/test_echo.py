from __future__ import annotations

import base64
import hashlib

import pytest
import trio
import trio.testing

from miles_router.sim.echo import pseudo_random_bytes
from tests.sim.raw_client import open_client


async def test_echo_shows_everything() -> None:
    async with open_client() as client:
        body = bytes(range(256))
        for method, target in (("PATCH", "/sim/echo?a=%20b"), ("POST", "/sim/echo/any//path")):
            found = (await client.request(method, target, body, {"X-A": "é"})).json()
            assert (found["method"], found["target"]) == (method, target)
            assert base64.b64decode(found["body"]) == body
            assert found["sha256"] == hashlib.sha256(body).hexdigest()
            assert ["X-A", "é".encode().decode("latin-1")] in found["headers"]


@pytest.mark.parametrize("chunked", ["", "&chunked=1"])
async def test_bytes(chunked: str) -> None:
    async with open_client() as client:
        found = await client.get(f"/sim/bytes?size=200000&chunk=999{chunked}")
        assert found.body == pseudo_random_bytes(200_000)
        assert (found.header("transfer-encoding") == "chunked") is bool(chunked)
        assert (await client.get(f"/sim/bytes?size=0{chunked}")).body == b""
        assert (await client.get("/sim/bytes?size=x")).status == 400


async def test_bytes_can_be_slow(autojump_clock: trio.testing.MockClock) -> None:
    async with open_client() as client:
        await client.get("/sim/bytes?size=10&chunk=1&delay_s=2")
        assert trio.current_time() == pytest.approx(18)


def test_bytes_do_not_depend_on_where_they_are_cut() -> None:
    whole = pseudo_random_bytes(3_000_000)
    assert pseudo_random_bytes(1_000_000, start=1_500_000) == whole[1_500_000:2_500_000]
    assert pseudo_random_bytes(0, start=7) == b""


@pytest.mark.parametrize("status", [200, 204, 304, 404, 503])
async def test_statuses_with_repeated_cookies(status: int) -> None:
    async with open_client() as client:
        found = await client.get(f"/sim/status/{status}")
        assert found.status == status
        cookies = [value for name, value in found.headers if name == "set-cookie"]
        assert cookies == ["first=1; Path=/", "second=2; Path=/"]
        assert bool(found.body) is (status not in {204, 304})
        head = await client.request("HEAD", f"/sim/status/{status}")
        assert (head.status, head.body) == (status, b"")
        assert (await client.get("/sim/status/99")).status == 400


async def test_uploads_whole_and_chunked() -> None:
    body = pseudo_random_bytes(3_000_000)
    expected = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    async with open_client() as client:
        assert (await client.post("/sim/upload", body)).json() == expected
        await client.send("PUT", "/sim/upload", None, {"Transfer-Encoding": "chunked"})
        for start in range(0, len(body), 500_000):
            piece = body[start : start + 500_000]
            await client.stream.send_all(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await client.stream.send_all(b"0\r\n\r\n")
        assert (await client.receive()).json() == expected


async def test_a_slow_upload_takes_its_time(autojump_clock: trio.testing.MockClock) -> None:
    async with open_client() as client:
        await client.post("/sim/upload?rate_bytes_per_s=100", b"x" * 1000)
        assert trio.current_time() == pytest.approx(10)


async def test_continue_is_said_to_those_who_wait_for_it() -> None:
    async with open_client() as client:
        headers = {"Expect": "100-continue", "Content-Length": "2"}
        await client.send("POST", "/sim/upload", None, headers)
        assert (await client.head())[0] == 100
        await client.stream.send_all(b"ab")
        assert (await client.receive()).json()["size"] == 2
