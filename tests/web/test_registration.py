"""Who may register what: address rules through the routes, and --open-registration."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import trio

from miles_router.tasks import health
from tests.web.rig import ADMIN, Rig, open_router, open_sims, until

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSED = [
    ("http://169.254.169.254", "metadata"),
    ("http://[::ffff:169.254.169.254]:80", "metadata"),
    ("http://2852039166", "metadata"),
    ("http://0xa9fea9fe", "metadata"),
    ("http://169.254.1.1:80", "link_local"),
    ("http://[fe80::1]:80", "link_local"),
    ("http://224.0.0.1:80", "multicast"),
    ("http://0.0.0.0:80", "unspecified"),
    ("http://[::]:80", "unspecified"),
    ("http://255.255.255.255", "broadcast"),
    ("http://8.8.8.8:80", "network"),
    ("http://[64:ff9b::a9fe:a9fe]:80", "metadata"),
    ("ftp://127.0.0.1", "scheme"),
    ("127.0.0.1:8000", "scheme"),
    ("http://user:secret-word@127.0.0.1", "userinfo"),
    ("http://127.0.0.1/v1", "path"),
    ("http://127.0.0.1?x", "query"),
    ("http://127.0.0.1#x", "query"),
    ("http://127.0.0.1:0", "port"),
    ("http://127.0.0.1:99999", "syntax"),
    ("http://", "host"),
    ("http://127.0.0.1\\@evil", "syntax"),
    ("http://a b", "syntax"),
    ("http://[fe80::1%25eth0]:80", "zone"),
]


class Names(trio.abc.HostnameResolver):
    """A name server of the test's own."""

    def __init__(self, addresses: dict[str, list[str]]) -> None:
        self.addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        await trio.lowlevel.checkpoint()
        name = host.decode() if isinstance(host, bytes) else host
        if name not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = []
        for text in self.addresses[name]:
            is_v6 = ipaddress.ip_address(text).version == 6
            family = socket.AF_INET6 if is_v6 else socket.AF_INET
            place = (text, port, 0, 0) if is_v6 else (text, port)
            found.append((family, socket.SOCK_STREAM, 6, "", place))
        return found

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


@contextmanager
def names(**addresses: list[str]) -> Iterator[Names]:
    """Inside the block only these names resolve; `_` stands for a dot."""
    resolver = Names({name.replace("_", "."): found for name, found in addresses.items()})
    before = trio.socket.set_custom_hostname_resolver(resolver)
    try:
        yield resolver
    finally:
        trio.socket.set_custom_hostname_resolver(before)


async def register(rig: Rig, route: str, url: str) -> Any:
    return await rig.client.post(route, {"url": url})


@pytest.mark.parametrize("route", ["/add_worker", "/workers", "/workers?wait=1"])
@pytest.mark.parametrize(("url", "rule"), REFUSED)
async def test_a_url_that_breaks_a_rule_is_refused(route: str, url: str, rule: str) -> None:
    async with open_router() as rig:
        answer = await register(rig, route, url)
        assert (answer.status, answer.error["code"]) == (400, "url_refused")
        assert answer.error["rule"] == rule
        assert "secret-word" not in answer.error["message"]
        assert rig.services.pool.listed == []
        in_query = await rig.client.post(f"/add_worker?url={quote(url)}")
        assert (in_query.status, in_query.error["rule"]) == (400, rule)


async def test_every_address_of_a_name_is_judged() -> None:
    with names(
        good_test=["10.0.0.1", "::1"],
        evil_test=["169.254.169.254"],
        mixed_test=["10.0.0.1", "169.254.169.254"],
        public_test=["8.8.8.8"],
    ):
        async with open_router() as rig:
            for host, rule in (("evil", "metadata"), ("mixed", "metadata"), ("public", "network")):
                answer = await register(rig, "/workers", f"http://{host}.test:8000")
                assert (answer.status, answer.error["rule"]) == (400, rule)
            assert rig.services.pool.listed == []
            assert (await register(rig, "/workers", "http://good.test:8000")).status == 202


async def test_a_name_that_does_not_resolve_is_refused() -> None:
    with names():
        async with open_router() as rig:
            answer = await register(rig, "/workers", "http://nowhere.test:8000")
            assert (answer.status, answer.error["rule"]) == (400, "resolve")


async def test_an_allowed_name_may_be_anywhere_but_not_at_a_forbidden_address() -> None:
    with names(gpu_test=["8.8.8.8"], bad_test=["169.254.169.254"]):
        async with open_router(allow_workers=("gpu.test", "bad.test")) as rig:
            assert (await register(rig, "/workers", "http://gpu.test:8000")).status == 202
            answer = await register(rig, "/workers", "http://bad.test:8000")
            assert (answer.status, answer.error["rule"]) == (400, "metadata")
            assert (await register(rig, "/workers", "http://127.0.0.1:1")).error[
                "rule"
            ] == "network"


@pytest.mark.loopback
async def test_a_name_that_moves_to_a_forbidden_address_gets_no_probe() -> None:
    with names(gpu_test=["127.0.0.1"]) as resolver:
        async with open_sims(1) as [sim], open_router(health_failures=1) as rig:
            url = f"http://gpu.test:{sim.port}"
            await register(rig, "/workers", url)
            resolver.addresses["gpu.test"] = ["169.254.169.254"]
            await rig.nursery.start(partial(health.run, rig.services))
            worker = rig.services.pool.find(url)
            await until(lambda: worker.last_probe is not None)
            assert worker.last_probe is not None
            assert worker.last_probe.outcome.value == "unreachable"
            assert "169.254.169.254" in worker.last_probe.detail
            assert sim.worker.stats.connections_total == 0


# -- redirects ------------------------------------------------------------------------------------


@pytest.mark.loopback
async def test_redirects_of_a_worker_are_not_followed() -> None:
    async with open_sims(1) as [target], open_router() as rig:
        location = f"Location: {target.url}/model_info\r\n".encode()

        async def redirect(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.receive_some()
                head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n"
                await stream.send_all(head + location + b"\r\n")

        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        rig.nursery.start_soon(trio.serve_listeners, redirect, [listener])
        worker = rig.add(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
        await rig.nursery.start(partial(health.run, rig.services))
        await until(lambda: worker.last_probe is not None)
        assert worker.last_probe is not None
        assert worker.last_probe.outcome.value == "unhealthy"
        for method, path in (
            ("POST", "/flush_cache"),
            ("POST", "/pause_generation"),
            ("POST", "/abort_request"),
        ):
            body = {"abort_all": True}
            answer = await rig.client.request(method, path, body)
            assert answer.status == 502
            assert answer.json()["results"][0]["status"] == 302
        assert (await rig.client.get("/engine_metrics")).body == b""
        assert target.worker.stats.connections_total == 0


# -- --open-registration -------------------------------------------------------------------------

INSIDE, OUTSIDE = "10.1.0.7", "10.2.0.7"
NEAR_URL, FAR_URL = "http://10.1.0.9:8000", "http://10.2.0.9:8000"
OPEN: dict[str, Any] = {"open_registration": ("10.1.0.0/16", "10.3.0.0/16"), "admin_token": ADMIN}


@pytest.mark.parametrize("route", ["/add_worker", "/workers"])
@pytest.mark.parametrize(
    ("caller", "url", "status"),
    [
        (INSIDE, NEAR_URL, 200),
        ("::ffff:10.1.0.7", NEAR_URL, 200),
        (INSIDE, FAR_URL, 403),
        (INSIDE, "http://10.3.0.9:8000", 403),  # another open network than the caller's
        (INSIDE, "http://127.0.0.1:8000", 403),
        (OUTSIDE, NEAR_URL, 401),
        (OUTSIDE, FAR_URL, 401),
    ],
)
async def test_a_worker_registers_itself_within_its_network(
    route: str, caller: str, url: str, status: int
) -> None:
    async with open_router(**OPEN) as rig:
        answer = await rig.as_caller(None, address=caller).post(route, {"url": url})
        assert answer.status == (202 if status == 200 and route == "/workers" else status)
        assert len(rig.services.pool.listed) == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    ("method", "target"),
    [("POST", "/remove_worker?url={url}"), ("DELETE", "/workers/{quoted}")],
)
@pytest.mark.parametrize(
    ("caller", "url", "is_allowed"),
    [(INSIDE, NEAR_URL, True), (INSIDE, FAR_URL, False), (OUTSIDE, NEAR_URL, False)],
)
async def test_a_worker_removes_itself_within_its_network(
    method: str, target: str, caller: str, url: str, is_allowed: bool
) -> None:
    async with open_router(**OPEN) as rig:
        rig.join(url)
        target = target.format(url=url, quoted=quote(url, safe=""))
        answer = await rig.as_caller(None, address=caller).request(method, target)
        assert (answer.status in {200, 202}) is is_allowed
        assert answer.status in {200, 202, 401, 403}
        assert len(rig.services.pool.listed) == (0 if is_allowed else 1)


async def test_an_api_key_does_not_close_what_the_network_opens() -> None:
    async with open_router(**OPEN, api_keys=("red=key-of-red-1",)) as rig:
        near = rig.as_caller("key-of-red-1", address=INSIDE)
        assert (await near.post("/add_worker", {"url": NEAR_URL})).status == 200
        far = rig.as_caller("key-of-red-1", address=OUTSIDE)
        assert (await far.post("/add_worker", {"url": NEAR_URL})).status == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/workers/{id}/drain"),
        ("POST", "/workers/{id}/release"),
        ("POST", "/pause_generation"),
        ("GET", "/snapshot"),
        ("POST", "/flush_cache"),
    ],
)
async def test_the_network_opens_nothing_else(method: str, path: str) -> None:
    async with open_router(**OPEN) as rig:
        worker = rig.join(NEAR_URL)
        near = rig.as_caller(None, address=INSIDE)
        answer = await near.request(method, path.format(id=worker.id))
        assert answer.status == 401


@pytest.mark.parametrize("route", ["/add_worker", "/workers"])
async def test_registering_again_does_not_lift_an_operators_quarantine(route: str) -> None:
    async with open_router(**OPEN) as rig:
        worker = rig.join(NEAR_URL)
        rig.services.pool.quarantine(worker, trio.current_time())
        near = rig.as_caller(None, address=INSIDE)
        assert (await near.post(route, {"url": NEAR_URL})).status in {200, 202}
        assert (worker.state.value, worker.is_held) == ("quarantined", True)
        await rig.as_caller(ADMIN).post(route, {"url": NEAR_URL})
        assert worker.state.value == "probation"


async def test_a_name_counts_by_all_its_addresses() -> None:
    with names(near_test=["10.1.0.9"], half_test=["10.1.0.9", "10.2.0.9"]):
        async with open_router(**OPEN) as rig:
            near = rig.as_caller(None, address=INSIDE)
            assert (await near.post("/add_worker", {"url": "http://near.test"})).status == 200
            assert (await near.post("/add_worker", {"url": "http://half.test"})).status == 403
