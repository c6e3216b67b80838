"""Who gets in where, under which request id, and what leaves when something fails."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio

from miles_router.core.auth import Gatekeeper
from miles_router.errors import AnswerCut, RouterError
from miles_router.net.body import ClientGone
from miles_router.web.guard import Guard
from tests.web.asgi_client import AsgiClient
from tests.web.rig import ADMIN, SHORT, Rig, open_router, open_sims

RED = "key-of-red-12345"
KEYS = (f"red={RED}", "blue=key-of-blue-1234")
LOCKS: dict[str, dict[str, Any]] = {
    "none": {},
    "keys": {"api_keys": KEYS},
    "admin": {"admin_token": ADMIN},
    "both": {"api_keys": KEYS, "admin_token": ADMIN},
}
CALLERS = {"nobody": None, "stranger": "wrong-key-123456", "tenant": RED, "admin": ADMIN}

OPEN = [("GET", path) for path in ("/livez", "/readyz", "/health", "/metrics", "/openapi.json")]
ROLLOUT = [
    ("GET", "/list_workers"),
    ("GET", "/workers"),
    ("GET", "/workers/{id}"),
    ("GET", "/get_loads"),
    ("GET", "/engine_metrics"),
    ("POST", "/abort_request"),
    ("POST", "/finish_session"),
    ("POST", "/generate"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/models"),
    ("PATCH", "/some/other/path"),
]
STEERING = [
    ("POST", "/add_worker"),
    ("POST", "/remove_worker"),
    ("POST", "/workers"),
    ("DELETE", "/workers/{id}"),
    ("POST", "/workers/{id}/drain"),
    ("POST", "/workers/{id}/undrain"),
    ("POST", "/workers/{id}/quarantine"),
    ("POST", "/workers/{id}/release"),
    ("GET", "/snapshot"),
    ("GET", "/log"),
    ("POST", "/flush_cache"),
    ("POST", "/pause_generation"),
    ("GET", "/get_weights_by_name"),
    ("POST", "//snapshot/"),
    ("POST", "/%66lush_cache"),
]
# What the lock asks of each role: the statuses for nobody, stranger, tenant, admin; 0 is let in.
EXPECTED = {
    ("none", "rollout"): (0, 0, 0, 0),
    ("none", "steering"): (0, 0, 0, 0),
    ("keys", "rollout"): (401, 401, 0, 401),
    ("keys", "steering"): (401, 401, 0, 401),
    ("admin", "rollout"): (0, 0, 0, 0),
    ("admin", "steering"): (401, 401, 401, 0),
    ("both", "rollout"): (401, 401, 0, 0),
    ("both", "steering"): (401, 401, 403, 0),
}
ROUTES = {"rollout": ROLLOUT, "steering": STEERING}


@pytest.mark.parametrize(("lock", "role"), list(EXPECTED))
async def test_each_role_opens_to_its_callers(lock: str, role: str) -> None:
    async with open_router(**LOCKS[lock], queue_timeout_s=0) as rig:
        for method, path in ROUTES[role]:
            for (caller, secret), expected in zip(
                CALLERS.items(), EXPECTED[lock, role], strict=True
            ):
                worker = rig.add("http://127.0.0.1:1")
                before = worker.state
                answer = await rig.as_caller(secret).request(method, path.format(id=worker.id))
                was = (lock, method, path, caller, answer.status)
                if not expected:
                    assert answer.status not in {401, 403}, was
                    continue
                assert answer.status == expected, was
                code = {401: "unauthorized", 403: "forbidden"}[expected]
                assert answer.error["code"] == code
                challenge = "Bearer" if expected == 401 else None
                assert answer.header("www-authenticate") == challenge
                assert worker.state is before


@pytest.mark.parametrize("lock", list(LOCKS))
async def test_health_and_metrics_are_open_to_all(lock: str) -> None:
    async with open_router(**LOCKS[lock]) as rig:
        for method, path in OPEN:
            for secret in CALLERS.values():
                answer = await rig.as_caller(secret).request(method, path)
                assert answer.status in {200, 503}, path


@pytest.mark.parametrize(
    "header",
    [
        f"Basic {RED}",
        RED,
        "Bearer",
        "Bearer ",
        f"Bearer {RED}x",
        f"Bearer {RED[:-1]}",
        "Bearer \xff",
    ],
)
async def test_only_the_very_key_as_bearer_lets_in(header: str) -> None:
    async with open_router(api_keys=KEYS) as rig:
        assert (await rig.client.get("/list_workers", Authorization=header)).status == 401
        good = await rig.client.get("/list_workers", Authorization=f"bearer  {RED}")
        assert good.status == 200


async def test_events_and_probes_need_the_admin_token() -> None:
    async with open_router(**LOCKS["both"]) as rig:
        path = f"/workers/{rig.add('http://127.0.0.1:1').id}/probe"
        assert (await rig.as_caller(None).post(path)).status == 401
        assert (await rig.as_caller(RED).post(path)).status == 403
        assert (await rig.as_caller(None).get("/events")).status == 401
        assert (await rig.as_caller(RED).get("/events")).status == 403


# -- request ids ----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/livez", "/nothing", "/workers/nobody", "/pause_generation"])
@pytest.mark.parametrize("given", ["abc-123", "x" * 128, "!~"])
async def test_a_given_request_id_comes_back(target: str, given: str) -> None:
    async with open_router(queue_timeout_s=0) as rig:
        answer = await rig.client.get(target, **{"X-Request-Id": given})
        assert answer.header("x-request-id") == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "two words", "tab\t", "\xe9", "a\x00"])
async def test_any_other_request_id_is_replaced(given: str | None) -> None:
    async with open_router() as rig:
        headers = {} if given is None else {"X-Request-Id": given}
        answers = [await rig.client.get("/livez", **headers) for _ in range(2)]
        ids = {str(answer.header("x-request-id")) for answer in answers}
        assert len(ids) == 2
        assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


async def test_refusals_carry_the_request_id() -> None:
    async with open_router(api_keys=KEYS) as rig:
        answer = await rig.client.get("/list_workers", **{"X-Request-Id": "id-1"})
        assert (answer.status, answer.header("x-request-id")) == (401, "id-1")


@pytest.mark.loopback
async def test_the_worker_gets_the_id_and_its_own_is_not_passed_on() -> None:
    async with open_sims(1) as [sim], open_router() as rig:
        worker = rig.join(sim.url)
        answer = await rig.client.post("/sim/echo", {}, **{"X-Request-Id": "id-1"})
        assert dict(answer.json()["headers"])["x-request-id"] == "id-1"
        assert answer.header("x-request-id") == "id-1"
        assert answer.header("x-miles-worker") == worker.id
        made = await rig.client.post("/sim/echo", {})
        assert dict(made.json()["headers"])["x-request-id"] == made.header("x-request-id")


# -- failures behind ------------------------------------------------------------------------------


def around(rig: Rig, app: Any) -> AsgiClient:
    """The guard of `rig` with `app` behind it."""
    gatekeeper = Gatekeeper(admin_token=None, api_keys={})
    return AsgiClient(Guard(rig.services, gatekeeper, app))


async def start(send: Any, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})


async def test_a_router_error_that_comes_through_is_answered() -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise RouterError("something specific", detail=5)

    async with open_router() as rig:
        answer = await around(rig, fail).get("/x")
        assert answer.status == 500
        assert answer.error == {
            "code": "internal_error",
            "message": "something specific",
            "detail": 5,
        }
        assert rig.services.metrics.errors["internal_error"] == 1
        assert rig.services.metrics.requests["other", 500] == 1


@pytest.mark.parametrize("error", [RouterError("x"), AnswerCut("x"), KeyError("x")])
async def test_what_fails_in_mid_answer_is_cut(error: Exception) -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise error

    async with open_router() as rig:
        answer = await around(rig, fail).post("//generate", {})
        assert (answer.status, answer.body, answer.is_complete) == (200, b"half", False)
        assert rig.services.metrics.cut_answers == {"generate": 1}


@pytest.mark.parametrize("middleware", [(), ("tests.plugins.samples:Plain",)])
async def test_a_mistake_of_the_router_is_not_blamed_on_a_middleware(
    middleware: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_router(middleware=middleware) as rig:
        monkeypatch.setattr(rig.services, "inflight", None)
        answer = await rig.client.post("/generate", SHORT, **{"X-Request-Id": "id-1"})
        assert (answer.status, answer.error["code"]) == (500, "internal_error")
        assert "id-1" in answer.error["message"]
        assert "middleware" not in answer.error["message"]
        assert [e.kind for e in rig.services.events.since(0)] == ["request_failed"]


async def test_a_mistake_in_an_own_route_is_an_internal_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_router() as rig:
        monkeypatch.setattr(rig.services, "affinity", None)
        answer = await rig.client.get("/snapshot")
        assert (answer.status, answer.error["code"]) == (500, "internal_error")
        [event] = rig.services.events.since(0)
        assert (event.kind, event.reason) == ("request_failed", "TypeError")


async def test_a_client_that_left_is_owed_nothing() -> None:
    async def leave(scope: Any, receive: Any, send: Any) -> None:
        raise ClientGone

    async with open_router() as rig:
        answer = await around(rig, leave).post("/generate", {})
        assert answer.status == 0
        assert rig.services.metrics.client_gone == {"generate": 1}
        assert rig.services.metrics.errors == {}


async def test_websocket_scopes_are_refused() -> None:
    async with open_router() as rig:
        sent: list[Any] = []

        async def receive() -> dict[str, str]:
            await trio.lowlevel.checkpoint()
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(message)

        await rig.app({"type": "websocket", "headers": []}, receive, send)
        assert [(one["type"], one["code"]) for one in sent] == [("websocket.close", 1008)]


async def test_answers_are_counted_by_class_and_status() -> None:
    async with open_router(queue_timeout_s=0) as rig:
        await rig.client.post("/generate", SHORT)
        await rig.client.get("/livez")
        await rig.client.get("/workers/nobody")
        assert rig.services.metrics.requests == {
            ("generate", 503): 1,
            ("own", 200): 1,
            ("own", 404): 1,
        }
