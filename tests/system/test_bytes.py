"""What a client sends reaches the worker, and the answer the client, to the byte."""

from __future__ import annotations

import base64
import gzip
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.sim.echo import pseudo_random_bytes
from tests.system.rig import prompt

if TYPE_CHECKING:
    from miles_router.sim import RunningSim
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

MB = 1_000_000


async def exchanged(router: Router, request: bytes) -> dict[str, Any]:
    """What the worker saw of `request`, by /sim/echo."""
    async with router.connected() as client:
        with trio.fail_after(10):
            await client.stream.send_all(request)
            answer = await client.receive()
    assert answer.status == 200, answer.body
    seen: dict[str, Any] = answer.json()
    return seen


def values(seen: dict[str, Any], name: str) -> list[str]:
    return [value for key, value in seen["headers"] if key.lower() == name]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_and_its_body_arrive(
    router: Router, sim: RunningSim, method: str
) -> None:
    head = f"{method} /sim/echo HTTP/1.1\r\nHost: r\r\nContent-Length: 5\r\n\r\n".encode()
    seen = await exchanged(router, head + b"\x00\xff\r\n1")
    assert (seen["method"], base64.b64decode(seen["body"])) == (method, b"\x00\xff\r\n1")


@pytest.mark.parametrize(
    "target",
    [
        "/sim/echo?a=%2F&a=1&b",
        "/sim/echo?a=+&b=%20&c=%E2%82%AC&d=a/b?c",
        "/sim/echo?%00=%",
        '/sim/echo?x=a;b&y={"k":[1]}|^`',
        "/sim/echo/a%2Fb%2f",
        "/sim/echo//double///slashes",
        "/sim/echo/../echo/./dots",
        "/sim/echo/%E2%82%AC/%zz/%",
        "/sim/echo/a;b=c,d:e@f!$&'()*+~-._",
        "/sim/echo?",
        "/sim/echo??",
    ],
)
async def test_the_target_is_kept_to_the_byte(router: Router, sim: RunningSim, target: str) -> None:
    seen = await exchanged(router, f"GET {target} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
    assert seen["target"] == target


async def test_the_origin_of_an_absolute_target_stops(router: Router, sim: RunningSim) -> None:
    request = b"GET http://example.invalid/sim/echo?a=%2F HTTP/1.1\r\nHost: example.invalid\r\n\r\n"
    assert (await exchanged(router, request))["target"] == "/sim/echo?a=%2F"


async def test_headers_cross_and_those_of_the_hop_stop(router: Router, sim: RunningSim) -> None:
    seen = await exchanged(
        router,
        b"GET /sim/echo HTTP/1.1\r\nHost: caller\r\nX-Twice: 1\r\nX-Twice: 2\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: secret\r\nKeep-Alive: timeout=5\r\n"
        b"TE: trailers\r\nProxy-Authorization: Basic x\r\nAuthorization: Bearer mine\r\n"
        b"X-Request-Id: my-own-id\r\nAccept-Encoding: br\r\nX-Latin: caf\xe9\r\nX-Empty:\r\n\r\n",
    )
    names = {key.lower() for key, _ in seen["headers"]}
    assert values(seen, "x-twice") == ["1", "2"]
    assert values(seen, "x-latin") == ["caf\xe9"]
    assert values(seen, "x-empty") == [""]
    assert values(seen, "accept-encoding") == ["br"]
    assert values(seen, "x-request-id") == ["my-own-id"]
    assert values(seen, "host") == [sim.url.removeprefix("http://")]
    hop = {"x-hop", "keep-alive", "te", "proxy-authorization", "authorization", "connection"}
    assert names & (hop | {"content-length", "transfer-encoding"}) == set()


@pytest.mark.parametrize("status", [200, 201, 206, 302, 400, 404, 418, 422, 500, 503, 599])
async def test_statuses_and_repeated_headers_come_back(
    router: Router, sim: RunningSim, status: int
) -> None:
    answer = await router.call("GET", f"/sim/status/{status}", headers={"X-Request-Id": "abc"})
    cookies = [value for name, value in answer.headers if name == "set-cookie"]
    assert (answer.status, answer.json()) == (status, {"status": status})
    assert cookies == ["first=1; Path=/", "second=2; Path=/"]
    assert answer.header("x-request-id") == "abc"
    assert answer.header("x-miles-worker")
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("server") == "uvicorn"


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_body_leaves_the_connection_usable(
    router: Router, sim: RunningSim, status: int
) -> None:
    async with router.connected() as client:
        with trio.fail_after(5):
            answer = await client.get(f"/sim/status/{status}")
            assert (answer.status, answer.header("transfer-encoding")) == (status, None)
            assert (await client.get("/sim/echo")).status == 200


async def test_head_has_the_length_and_no_body(router: Router, sim: RunningSim) -> None:
    async with router.connected() as client:
        with trio.fail_after(5):
            answer = await client.request("HEAD", "/sim/status/200")
            assert (answer.status, answer.body) == (200, b"")
            assert answer.header("content-length") == str(len(b'{"status":200}'))
            assert (await client.get("/sim/bytes?size=3")).body == pseudo_random_bytes(3)


async def test_compressed_bodies_pass_untouched_both_ways(router: Router, sim: RunningSim) -> None:
    packed = gzip.compress(b"a" * 1000, mtime=0)
    headers = {"Content-Encoding": "gzip"}
    seen = (await router.call("POST", "/sim/echo", packed, headers)).json()
    assert base64.b64decode(seen["body"]) == packed
    assert values(seen, "content-encoding") == ["gzip"]
    sim.worker.add_fault("gzip")
    answer = await router.post("/generate", prompt())
    assert answer.header("content-encoding") == "gzip"
    assert b'"text"' in gzip.decompress(answer.body)


async def test_a_chunked_body_arrives_joined(router: Router, sim: RunningSim) -> None:
    seen = await exchanged(
        router,
        b"POST /sim/echo HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;ext=1\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nX-Trailer: 1\r\n\r\n",
    )
    assert base64.b64decode(seen["body"]) == b"hello world"
    assert values(seen, "content-length") == ["11"]


@pytest.mark.parametrize(
    ("framing", "length"),
    [(b"Content-Length: 0\r\n", ["0"]), (b"", []), (b"Transfer-Encoding: chunked\r\n", ["0"])],
)
async def test_empty_bodies_stay_empty(
    router: Router, sim: RunningSim, framing: bytes, length: list[str]
) -> None:
    body = b"0\r\n\r\n" if b"chunked" in framing else b""
    head = b"POST /sim/echo HTTP/1.1\r\nHost: r\r\n" + framing + b"\r\n"
    seen = await exchanged(router, head + body)
    assert (seen["body"], values(seen, "content-length")) == ("", length)


async def test_expect_continue_is_answered_before_the_body(router: Router, sim: RunningSim) -> None:
    async with router.connected() as client:
        with trio.fail_after(5):
            await client.stream.send_all(
                b"POST /sim/echo HTTP/1.1\r\nHost: r\r\nExpect: 100-continue\r\n"
                b"Content-Length: 4\r\n\r\n"
            )
            assert (await client.head())[0] == 100
            await client.stream.send_all(b"body")
            seen = (await client.receive()).json()
    assert base64.b64decode(seen["body"]) == b"body"
    assert values(seen, "expect") == []


@pytest.mark.parametrize("connection", [b"", b"Connection: keep-alive\r\n"])
async def test_an_http_1_0_client_is_served(
    router: Router, sim: RunningSim, connection: bytes
) -> None:
    for target, size in ((b"/sim/bytes?size=70000", 70_000), (b"/sim/bytes?size=5&chunked=1", 5)):
        async with router.connected() as client:
            with trio.fail_after(5):
                await client.stream.send_all(b"GET " + target + b" HTTP/1.0\r\n" + connection)
                await client.stream.send_all(b"\r\n")
                status, headers = await client.head()
                assert (status, "transfer-encoding" in dict(headers)) == (200, False)
                assert await client.rest() == pseudo_random_bytes(size)


async def test_pipelined_requests_are_answered_in_order(router: Router, sim: RunningSim) -> None:
    request = b"GET /sim/echo?n=%d HTTP/1.1\r\nHost: r\r\n\r\n"
    post = b"POST /sim/echo?n=1 HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\n\r\nabc"
    async with router.connected() as client:
        with trio.fail_after(5):
            await client.stream.send_all(
                request % 0 + post + request % 2 + b"GET /livez HTTP/1.1\r\n"
            )
            await client.stream.send_all(b"Host: r\r\n\r\n")
            for number in range(3):
                assert (await client.receive()).json()["target"] == f"/sim/echo?n={number}"
            assert (await client.receive()).json() == {"status": "ok"}


async def test_one_connection_mixes_relayed_and_own_routes(router: Router, sim: RunningSim) -> None:
    async with router.connected() as client:
        with trio.fail_after(10):
            for number in range(5):
                assert (await client.post("/generate", prompt(str(number)))).status == 200
                assert (await client.get("/health")).json()["healthy_workers"] == 1
                assert (await client.get("/nothing-here")).status == 404


async def test_20_mb_go_up_unchanged(router: Router, sim: RunningSim) -> None:
    data = pseudo_random_bytes(20 * MB)
    with trio.fail_after(20):
        answer = await router.call("POST", "/sim/upload", data)
    assert answer.json() == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("chunked", [0, 1])
async def test_67_mb_come_down_unchanged(router: Router, sim: RunningSim, chunked: int) -> None:
    size = 67 * MB
    digest, received = hashlib.sha256(), 0
    async with router.connected() as client:
        with trio.fail_after(30):
            await client.send("GET", f"/sim/bytes?size={size}&chunked={chunked}")
            await client.head()
            if chunked:
                while piece := await client.chunk():
                    digest.update(piece)
            else:
                while received < size:
                    piece = await client.exactly(min(250_000, size - received))
                    received += len(piece)
                    digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(pseudo_random_bytes(size)).hexdigest()
