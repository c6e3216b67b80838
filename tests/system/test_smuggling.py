"""Requests that two servers could read differently are refused before a worker sees a byte."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest
import trio

if TYPE_CHECKING:
    from miles_router.sim import RunningSim
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

POST = b"POST /generate HTTP/1.1\r\nHost: r\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: r\r\n\r\n"

REFUSED = {
    "cl-and-te": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-and-cl": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two-lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "same-length-twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "length-list": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "length-plus": POST + b"Content-Length: +5\r\n\r\nhello",
    "length-minus": POST + b"Content-Length: -1\r\n\r\n",
    "length-hex": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "length-underscore": POST + b"Content-Length: 1_0\r\n\r\nhello12345",
    "length-huge": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "length-empty": POST + b"Content-Length:\r\n\r\n",
    "te-identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "te-gzip-chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te-chunked-twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "te-two-headers": POST
    + b"Transfer-Encoding: chunked\r\n" * 1
    + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "te-x": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te-quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "te-vertical-tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "te-space-before-colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "te-in-1.0": b"POST /generate HTTP/1.0\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\n",
    "folded-header": POST + b"X-A: 1\r\n folded\r\n\r\n",
    "space-first-header": b"GET / HTTP/1.1\r\n X: 1\r\nHost: r\r\n\r\n",
    "bare-lf-headers": b"GET /generate HTTP/1.1\nHost: r\n\n",
    "bare-cr": POST + b"X-A: 1\rTransfer-Encoding: chunked\r\n\r\n",
    "nul-in-header": POST + b"X-A: a\x00b\r\n\r\n",
    "header-name-space": POST + b"X A: 1\r\n\r\n",
    "header-no-colon": POST + b"XA\r\n\r\n",
    "header-empty-name": POST + b": 1\r\n\r\n",
    "chunk-size-plus": POST + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    "chunk-size-0x": POST + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "chunk-lf": POST + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
    "chunk-too-long": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
    "chunk-size-huge": POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "no-host": b"GET /generate HTTP/1.1\r\n\r\n",
    "two-hosts": b"GET /generate HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "rtsp": b"GET /generate RTSP/1.0\r\nHost: r\r\n\r\n",
    "ice": b"SOURCE /generate ICE/1.0\r\nHost: r\r\n\r\n",
    "empty-line-behind-a-body": POST + b"Content-Length: 2\r\n\r\n{}\r\n",
    "chunk-extension-huge": POST
    + b"Transfer-Encoding: chunked\r\n\r\n2;"
    + b"a" * 300_000
    + b"\r\n{}\r\n0\r\n\r\n",
    "trailer-huge": POST
    + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: "
    + b"a" * 300_000
    + b"\r\n\r\n",
    "unknown-method": b"HELLO /generate HTTP/1.1\r\nHost: r\r\n\r\n",
    "tls-hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 64,
    "http2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version-9": b"GET /generate HTTP/9.1\r\nHost: r\r\n\r\n",
    "space-in-target": b"GET /gen erate HTTP/1.1\r\nHost: r\r\n\r\n",
    "huge-head": POST + b"X-Big: " + b"a" * 70_000 + b"\r\n\r\n",
    "many-headers": POST + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n",
}
STATUS_LINE = re.compile(rb"HTTP/1\.1 \d\d\d ")


async def said_to(router: Router, request: bytes) -> bytes:
    """Everything the router answers until it closes the connection."""
    async with router.connected() as client:
        with trio.fail_after(5):
            with contextlib.suppress(trio.BrokenResourceError):
                await client.stream.send_all(request)
            return await client.rest()


@pytest.mark.parametrize("name", REFUSED)
async def test_an_ambiguous_request_is_refused_and_nothing_is_smuggled(
    router: Router, sim: RunningSim, name: str
) -> None:
    answers = await said_to(router, REFUSED[name] + SMUGGLED)
    head, _, body = answers.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), answers
    assert b"connection: close" in head.lower()
    assert b'{"error":{"code":"' in body
    assert len(STATUS_LINE.findall(answers)) == 1
    assert dict(sim.worker.stats.requests).keys() <= {"/health", "/model_info"}


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /generate HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        b"GET /generate HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
        b"CONNECT example.invalid:443 HTTP/1.1\r\n",
    ],
)
async def test_upgrades_are_not_supported(
    router: Router, sim: RunningSim, request_line: bytes
) -> None:
    answers = await said_to(router, request_line + b"Host: r\r\n\r\n")
    assert answers.startswith(b"HTTP/1.1 501 ")
    assert b'"code":"upgrade_unsupported"' in answers
    assert "/generate" not in sim.worker.stats.requests


async def test_a_refusal_behind_a_good_request_does_not_spoil_its_answer(
    router: Router, sim: RunningSim
) -> None:
    good = b"GET /sim/echo?good HTTP/1.1\r\nHost: r\r\n\r\n"
    async with router.connected() as client:
        with trio.fail_after(5):
            await client.stream.send_all(good)
            assert (await client.receive()).status == 200
            await client.stream.send_all(REFUSED["cl-and-te"])
            assert (await client.receive()).status == 400
            assert await client.rest() == b""


async def test_a_target_that_is_no_path_is_refused(router: Router, sim: RunningSim) -> None:
    for request_line in (b"OPTIONS * HTTP/1.1", b"GET ftp://r/generate HTTP/1.1"):
        async with router.connected() as client:
            with trio.fail_after(5):
                await client.stream.send_all(request_line + b"\r\nHost: r\r\n\r\n")
                answer = await client.receive()
        assert (answer.status, answer.json()["error"]["code"]) == (400, "bad_request")


async def test_no_control_path_slips_through_to_one_worker(router: Router, sim: RunningSim) -> None:
    for target in ("/%70ause_generation", "//pause_generation", "/a/../pause_generation/"):
        answer = await router.call("POST", target, {})
        assert "results" in answer.json(), target
    seen = sim.worker.stats.requests
    assert seen["/pause_generation"] == 3
    assert (await router.post("/continue_generation", {})).status == 200
