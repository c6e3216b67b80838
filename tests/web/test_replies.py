from __future__ import annotations

from typing import Any

import pytest

from miles_router.core.auth import Gatekeeper
from miles_router.errors import (
    ConfigFault,
    RouterError,
    Unauthorized,
    Unavailable,
    UrlRefused,
)
from miles_router.web.guard import Guard
from miles_router.web.replies import error_body
from tests.web.asgi_client import AsgiClient
from tests.web.rig import open_router


def classes(root: type[RouterError] = RouterError) -> list[type[RouterError]]:
    return [root, *(found for child in root.__subclasses__() for found in classes(child))]


def make(kind: type[RouterError]) -> RouterError:
    if issubclass(kind, UrlRefused):
        return kind("what to do", rule="scheme")
    if issubclass(kind, ConfigFault):
        return kind("what to do", key="port")
    return kind("what to do", hint=5)


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
async def test_every_error_has_one_shape_a_code_and_its_status(kind: type[RouterError]) -> None:
    error = make(kind)

    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise error

    async with open_router() as rig:
        guard = Guard(rig.services, Gatekeeper(admin_token=None, api_keys={}), fail)
        answer = await AsgiClient(guard).get("/x")
    assert answer.status == kind.status
    assert 400 <= answer.status < 600
    assert answer.error["code"] == kind.code
    assert kind.code.isidentifier()
    assert kind.code == kind.code.lower()
    assert answer.error["message"] == "what to do"
    assert answer.error == {**error_body(error)["error"]}  # type: ignore[dict-item]  # an object
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("www-authenticate") == ("Bearer" if kind is Unauthorized else None)


@pytest.mark.parametrize(("given_s", "shown"), [(None, None), (0.2, "1"), (2.5, "2"), (61, "61")])
def test_retry_after_is_in_whole_seconds(given_s: float | None, shown: str | None) -> None:
    assert Unavailable("later", retry_after_s=given_s).headers.get("Retry-After") == shown


def test_details_stand_beside_code_and_message() -> None:
    error = RouterError("text", states={"active": 1})
    assert error_body(error) == {
        "error": {"code": "internal_error", "message": "text", "states": {"active": 1}}
    }
