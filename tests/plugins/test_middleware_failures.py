"""Middleware that ends a request in a way that no application may."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from tests.plugins.test_middleware import S, raw
from tests.web.rig import SHORT, open_router


@pytest.mark.parametrize("kind", ["asyncio", "generator", "own", "exit"])
@pytest.mark.parametrize("more", [{}, {"x-nested": "1"}])
async def test_what_ends_other_programs_fails_its_request_alone(
    kind: str, more: dict[str, str]
) -> None:
    async with open_router(middleware=(f"{S}:ProcessWide",)) as rig:
        for count in (1, 2):
            answer = await rig.client.get("/x", **{"x-raise": kind}, **more)
            assert (answer.status, answer.error["code"]) == (500, "middleware_failed")
            assert [e.kind for e in rig.services.events.since(0)] == ["middleware_failed"] * count
        late = await rig.client.get("/x", **{"x-raise": kind, "x-late": "1"}, **more)
        assert (late.status, late.is_complete) == (200, False)
        assert rig.services.metrics.cut_answers["other"] == 1


async def test_a_cancelled_request_ends_with_its_surroundings() -> None:
    async with open_router(middleware=(f"{S}:Unfinished",)) as rig:
        with trio.move_on_after(0.1) as scope:
            await rig.client.get("/x", **{"x-kind": "waits"})
        assert scope.cancelled_caught
        assert rig.services.events.since(0) == []


@pytest.mark.parametrize("kind", ["nothing", "head"])
async def test_a_middleware_that_returns_too_early_has_failed(kind: str) -> None:
    async with open_router(middleware=(f"{S}:Unfinished",)) as rig:
        answer = await rig.client.get("/x", **{"x-kind": kind})
        if kind == "nothing":
            assert (answer.status, answer.error["code"]) == (500, "middleware_failed")
            assert "returned without an answer" in answer.error["message"]
        else:
            assert (answer.status, answer.is_complete) == (200, False)
            assert rig.services.metrics.cut_answers["other"] == 1
        [event] = rig.services.events.since(0)
        assert event.kind == "middleware_failed"
        assert rig.services.metrics.client_gone == {}


async def test_a_client_that_left_is_no_failure_of_the_middleware_that_noticed() -> None:
    async with open_router(middleware=(f"{S}:Unfinished",)) as rig:
        async with rig.client.opened("GET", "/x", headers={"x-kind": "waits"}) as call:
            await trio.testing.wait_all_tasks_blocked()
            call.leave()
            await call.is_over.wait()
        assert call.answer.status == 0
        assert rig.services.events.since(0) == []
        assert rig.services.metrics.client_gone == {"other": 1}


async def test_an_error_that_a_middleware_swallowed_is_answered_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_router(middleware=(f"{S}:Unfinished",)) as rig:
        monkeypatch.setattr(rig.services, "inflight", None)
        answer = await rig.client.post("/generate", SHORT, **{"x-kind": "swallows"})
        assert (answer.status, answer.error["code"]) == (500, "internal_error")


@pytest.mark.loopback
@pytest.mark.parametrize("kind", ["line", "text", "name"])
async def test_a_head_that_is_no_http_is_replaced(kind: str) -> None:
    async with open_router(middleware=(f"{S}:Unfinished",)) as rig:
        request = b"GET /x HTTP/1.1\r\nHost: r\r\nX-Kind: %b\r\nConnection: close\r\n\r\n"
        received = await raw(rig, request % kind.encode())
        assert received.startswith(b"HTTP/1.1 500 ")
        body = json.loads(received.partition(b"\r\n\r\n")[2])
        assert body["error"]["code"] == "middleware_failed"
        assert [e.kind for e in rig.services.events.since(0)] == ["middleware_failed"]
        assert rig.services.metrics.cut_answers == {}
