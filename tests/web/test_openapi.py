from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from miles_router.core.request import OWN_PATHS
from miles_router.tasks import health
from miles_router.web.blueprints import make_own_app
from miles_router.web.compat import MAX_OBJECT_BYTES
from tests.web.cached import open_cached_router
from tests.web.rig import ADMIN, Rig, open_router

if TYPE_CHECKING:
    from tests.web.asgi_client import AsgiClient


def served(rig: Rig) -> set[tuple[str, str]]:
    """Method and path of every route that Quart serves."""
    app: Any = make_own_app(rig.services)
    routes: Any = app.url_map.iter_rules()
    return {
        (method.lower(), re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule))
        for rule in routes
        if rule.endpoint != "static"
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


def operations_of(document: Any) -> list[tuple[str, str, Any]]:
    """Path, method and description of each."""
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def test_the_document_is_exactly_what_is_served() -> None:
    async with open_router() as rig:
        answer = await rig.client.get("/openapi.json")
        assert answer.status == 200
        document = answer.json()
        assert document["openapi"].startswith("3.")
        documented = {
            (method, path) for path, methods in document["paths"].items() for method in methods
        }
        assert documented == served(rig)
        paths = {path for path in document["paths"] if "{" not in path}
        assert paths == OWN_PATHS


async def test_every_operation_is_described() -> None:
    async with open_router() as rig:
        document = (await rig.client.get("/openapi.json")).json()
        operations = [
            (path, operation)
            for path, methods in document["paths"].items()
            for operation in methods.values()
        ]
        ids = [operation["operationId"] for _, operation in operations]
        assert len(set(ids)) == len(ids)
        for path, operation in operations:
            assert operation["summary"]
            assert operation["responses"]
            in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))


KEY = "key-of-red-12345"
LOCKS: list[dict[str, Any]] = [{}, {"admin_token": ADMIN, "api_keys": (f"red={KEY}",)}]
CALLERS = [None, KEY, ADMIN]
BODIES: list[Any] = [None, b"{", b"[]", b"\xff", b" " * (MAX_OBJECT_BYTES + 1)]
ODD_VALUES = ["x", "-1", "nan", "red", ""]


def calls_of(path: str, operation: dict[str, Any]) -> list[tuple[str, Any]]:
    """Targets and bodies with which a caller may try an operation, few of them sensible."""
    names = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    keys = list(schema.get("schema", {}).get("properties", {}))
    more: list[Any] = [5, [], {}, None]
    calls: list[tuple[str, Any]] = [(path, body) for body in BODIES]
    calls += [(f"{path}?{name}={odd}", None) for name in names for odd in ODD_VALUES]
    calls += [(path, {key: odd}) for key in keys for odd in (*ODD_VALUES, *more)]
    return calls


def is_endless(method: str, target: str, status: int) -> bool:
    return method == "get" and target.startswith("/events") and status == 200


async def observed(client: AsgiClient, method: str, target: str, body: Any) -> int:
    """The status of an answer, also of one that does not end."""
    async with client.opened(method.upper(), target, body) as call:
        answer = await call.start()
        if not is_endless(method, target, answer.status):
            await call.is_over.wait()
    return answer.status


@pytest.mark.parametrize("locks", LOCKS, ids=["open", "locked"])
@pytest.mark.parametrize("with_cache", [False, True])
async def test_every_status_that_is_answered_is_documented(
    locks: dict[str, Any], with_cache: bool
) -> None:
    open_one = open_cached_router if with_cache else open_router
    missing: set[tuple[str, str, int]] = set()
    async with open_one(**locks) as rig:
        await rig.nursery.start(health.run, rig.services)  # what is to be probed at once is
        document = (await rig.client.get("/openapi.json")).json()
        for path, method, operation in operations_of(document):
            documented = {int(status) for status in operation["responses"]}
            for secret in CALLERS if locks else [None]:
                for name in ("nobody", "http%3A%2F%2F127.0.0.1%3A9"):
                    rig.add("http://127.0.0.1:9")
                    filled = re.sub(r"{\w+}", name, path)
                    for target, body in calls_of(filled, operation):
                        status = await observed(rig.as_caller(secret), method, target, body)
                        if status not in documented:
                            missing.add((method, path, status))
    assert missing == set()


async def test_credentials_are_documented_as_the_guard_asks_for_them() -> None:
    async with open_router() as rig:
        document = (await rig.client.get("/openapi.json")).json()
        shown = {
            (method, path): sorted({"401", "403"} & operation["responses"].keys())
            for path, method, operation in operations_of(document)
        }
        assert shown["get", "/livez"] == shown["get", "/openapi.json"] == []
        assert shown["get", "/workers"] == shown["post", "/abort_request"] == ["401"]
        assert shown["post", "/workers/{name}/drain"] == ["401", "403"]
        assert shown["get", "/snapshot"] == shown["post", "/cache/gc"] == ["401", "403"]
        assert shown["get", "/trajectories"] == ["401", "403"]  # of another tenant
