"""What the express knows of a request by its head is what guard and front would make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from miles_router.config import RADIX_TREE_MIDDLEWARE, Settings
from miles_router.core import headers as header_rules
from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import Worker, WorkerSpec
from miles_router.net.gate import Gate
from miles_router.net.plain import plain_target
from miles_router.net.request_bytes import request_head
from miles_router.net.request_head import TARGET_KEY
from miles_router.net.upstream import Connection
from miles_router.web.build import planner_of
from tests.doubles.memory_net import memory_connection
from tests.web.cached import open_cached_router
from tests.web.rig import ADMIN, open_router

if TYPE_CHECKING:
    from miles_router.net.plan import Plan
    from miles_router.web.planning import RequestPlanner

KEY = "tenant-key-1234567890"
BODY = b'{"text": "a"}'


async def plan_of(raw: bytes, **settings: Any) -> Plan | None:
    """The plan for a request with the head `raw`, in a router with `settings`."""
    async with open_router(**settings) as rig:
        planner = planner_of(rig.services, rig.app)
        assert planner is not None
        return planned(planner, raw)


def planned(planner: RequestPlanner, raw: bytes) -> Plan | None:
    gate = Gate()
    gate.read_head(raw)
    head = gate.head
    assert head is not None
    target = plain_target(head, raw)
    assert target is not None
    scope = {
        "type": "http",
        "method": head.method.decode(),
        "path": target.path,
        "raw_path": target.raw_path,
        "query_string": target.query,
        "headers": head.headers,
        TARGET_KEY: head.target,
    }
    return planner.plan(scope, head, target)


def raw_of(*lines: bytes, method: bytes = b"POST", target: bytes = b"/generate") -> bytes:
    length = b"Content-Length: %d" % len(BODY)
    head = (b"%b %b HTTP/1.1" % (method, target), b"Host: a", length, *lines)
    return b"\r\n".join(head) + b"\r\n\r\n"


def connection_to(api_key: str | None) -> Connection:
    worker = Worker("w1", WorkerSpec(parse_worker_url("http://127.0.0.1:9000"), api_key=api_key), 0)
    return Connection(worker, memory_connection()[0])  # type: ignore[arg-type]  # memory


@pytest.mark.parametrize(
    ("method", "target"),
    [(b"GET", b"/generate"), (b"PUT", b"/generate"), (b"POST", b"/tokenize"), (b"POST", b"/x")],
)
async def test_only_generations_are_planned(method: bytes, target: bytes) -> None:
    assert await plan_of(raw_of(method=method, target=target)) is None


@pytest.mark.parametrize("target", [b"/generate", b"//generate/", b"/v1/chat/completions?a=b&c"])
async def test_generations_are_planned_by_what_a_worker_would_match(target: bytes) -> None:
    plan = await plan_of(raw_of(target=target))
    assert plan is not None
    assert plan.path in {"/generate", "/v1/chat/completions"}
    assert plan.line == b"POST " + target + b" HTTP/1.1\r\nhost: "


async def test_who_may_not_ask_goes_the_long_way() -> None:
    settings = {"api_keys": (f"one={KEY}",), "admin_token": ADMIN}
    for line in (b"", b"Authorization: Bearer wrong", b"Authorization: Basic x"):
        assert await plan_of(raw_of(*([line] if line else [])), **settings) is None
    plan = await plan_of(raw_of(b"Authorization: Bearer " + KEY.encode()), **settings)
    assert plan is not None
    assert plan.caller.tenant == "one"
    plan = await plan_of(
        raw_of(b"Authorization: Bearer " + KEY.encode(), b"x-miles-session: s"), **settings
    )
    assert plan is not None
    assert plan.session == ("one", "s")


async def test_where_middleware_sees_each_request_nothing_is_planned() -> None:
    async with open_router() as rig:
        assert planner_of(rig.services, rig.app) is not None
        rig.services.settings = Settings(port=0, middleware=("a:B",))
        assert planner_of(rig.services, rig.app) is None


async def test_the_token_cache_takes_part_in_what_it_knows() -> None:
    async with open_cached_router(middleware=(RADIX_TREE_MIDDLEWARE,)) as rig:
        planner = planner_of(rig.services, rig.app)
        assert planner is not None
        for target, has_passing in ((b"/generate", True), (b"/v1/completions", False)):
            plan = planned(planner, raw_of(b"Accept-Encoding: gzip, br", target=target))
            assert plan is not None
            assert (plan.passing is not None) is has_passing
            asked = b"identity" if has_passing else b"gzip, br"
            assert b"accept-encoding: " + asked in plan.rest
            assert (
                plan.headers(1)[2:] == plan.head.headers[2:]
            )  # a task is told what the client said
            passage = plan.passage(BODY)
            assert (passage is not None) is has_passing


LINES = st.sampled_from(
    [
        b"Authorization: Bearer x",
        b"authorization: Basic y",
        b"X-Request-Id: mine",
        b"x-request-id: " + b"z" * 200,
        b"x-miles-session: s1",
        b"X-SMG-Routing-Key: s2",
        b"x-miles-session:",
        b"Connection: X-Hop, authorization",
        b"X-Hop: 1",
        b"TE: trailers",
        b"Keep-Alive: 5",
        b"Content-Type: application/json",
        b"Accept: */*",
        b"accept: x",
        b"traceparent: 00-1",
    ]
)


@given(
    lines=st.lists(LINES, max_size=6),
    api_key=st.sampled_from([None, "worker-key"]),
    forwards=st.booleans(),
)
@example(lines=[b"Authorization: Bearer x"], api_key="k", forwards=True)
@example(lines=[b"Authorization: Bearer x"], api_key="k", forwards=False)
def test_a_worker_gets_what_it_would_get_otherwise(
    lines: list[bytes], api_key: str | None, forwards: bool
) -> None:
    raw = raw_of(*lines)
    plan = trio.run(lambda: plan_of(raw, forward_authorization=forwards))
    assert plan is not None
    gate = Gate()
    gate.read_head(raw)
    assert gate.head is not None
    connection = connection_to(api_key)
    expected = request_head(
        "POST",
        b"/generate",
        connection.authority,
        header_rules.to_worker(
            gate.head.headers,
            request_id=b"the-id",
            api_key=api_key,
            forward_authorization=forwards,
        ),
        framing=[(b"content-length", b"%d" % len(BODY))],
    )
    assert plan.write(connection, "the-id", BODY) == expected + BODY
    assert plan.request_id == ("mine" if first_id(gate.head.headers) == b"mine" else None)


def first_id(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    return header_rules.first(headers, b"x-request-id")
