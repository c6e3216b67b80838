from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from miles_router.tui.asgi_call import NoAnswer, asgi_call
from miles_router.tui.commands import (
    Abort,
    Add,
    ClearNamespace,
    Command,
    CommandRefused,
    Drain,
    Quarantine,
    Release,
    Remove,
    Sweep,
    Undrain,
)
from miles_router.tui.wire import WireCall, call_for, sentence_for
from tests.web.cached import cache_in, keep, open_cached_router
from tests.web.rig import ADMIN, LONG, Rig, open_router, open_sims

URL = "http://10.0.0.1:30000"


async def told(rig: Rig, command: Command, token: str | None = None) -> str:
    """The sentence, or the refusal."""
    status, body = await asgi_call(rig.app, call_for(command), token=token)
    try:
        return sentence_for(command, status, body)
    except CommandRefused as refused:
        return f"refused: {refused}"


async def test_commands_on_a_worker() -> None:
    async with open_router() as rig:
        worker = rig.join(URL)
        rig.join("http://10.0.0.2:30000")
        name = "10.0.0.1:30000"
        assert await told(rig, Drain(worker.id)) == f"{name} is drained: nothing runs on it"
        assert await told(rig, Undrain(worker.id)) == f"{name} is active: it serves"
        assert await told(rig, Quarantine(worker.id)) == f"{name} is quarantined: by an operator"
        released = f"{name} is on probation: it serves when its health checks have passed"
        assert await told(rig, Release(worker.id)) == released
        undrained = await told(rig, Undrain(worker.id))
        assert undrained.startswith("refused: a worker that is probation cannot take the step")
        gone = f"{name} gets nothing new and goes when nothing runs on it"
        assert await told(rig, Remove(worker.id)) == gone
        assert worker.id not in rig.services.pool.workers
        assert await told(rig, Drain(worker.id)) == (
            f"refused: no worker {worker.id!r}; GET /workers lists them"
        )


async def test_add_and_a_url_that_breaks_the_rules() -> None:
    async with open_router() as rig:
        added = await told(rig, Add(URL))
        assert added == "10.0.0.1:30000 is registered; it serves when a health check has passed"
        assert [worker.url for worker in rig.services.pool.listed] == [URL]
        assert (await told(rig, Add("not a url"))).startswith("refused: ")


async def test_without_a_token_cache() -> None:
    async with open_router() as rig:
        off = "refused: the token cache is off: start the router with --token-cache"
        assert await told(rig, Sweep()) == off
        assert await told(rig, ClearNamespace("default")) == off


async def test_the_token_cache() -> None:
    async with open_cached_router(admin_token=ADMIN) as rig:
        await keep(rig, "a prompt", [1, 2, 3], tenant="team b")
        assert await told(rig, Sweep(), ADMIN) == "garbage collection removed nothing"
        deleted = await told(rig, ClearNamespace("team b"), ADMIN)
        assert deleted == "deleted 1 trajectory of team b"
        assert cache_in(rig).store.trajectories == 0


async def test_an_abort_ends_exactly_that_request() -> None:
    async with open_router() as rig, open_sims(1) as (sim,):
        worker = rig.join(sim.url)
        headers = {"X-Request-Id": "request-1"}
        async with rig.client.opened("POST", "/generate", LONG, headers) as call:
            await rig.until_inflight(worker, 1)
            missed = await told(rig, Abort("request-2"))
            assert missed == "refused: no request 'request-2' runs; GET /snapshot lists them"
            assert await told(rig, Abort("request-1")) == "the request is aborted"
            with trio.fail_after(5):
                await call.is_over.wait()


async def test_the_routers_own_guard_decides() -> None:
    async with open_router(admin_token=ADMIN) as rig:
        assert (await told(rig, Add(URL))).startswith("refused: this route needs the admin token")
        assert (await told(rig, Add(URL), "no")).startswith("refused: the token that was sent")
        assert not rig.services.pool.listed
        assert (await told(rig, Add(URL), ADMIN)).startswith("10.0.0.1:30000 is registered")


async def test_the_app_sees_an_ordinary_request() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.update(scope)
        seen["request"] = await receive()
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})
        seen["end"] = await receive()

    call = WireCall("POST", "/workers/a%2Fb?x=%20", b'{"a":1}')
    assert await asgi_call(app, call, token="täken") == (202, b"ab")
    assert (seen["method"], seen["path"]) == ("POST", "/workers/a/b")
    assert (seen["raw_path"], seen["query_string"]) == (b"/workers/a%2Fb", b"x=%20")
    assert seen["request"] == {"type": "http.request", "body": b'{"a":1}', "more_body": False}
    assert seen["end"] == {"type": "http.disconnect"}
    headers = dict(seen["headers"])
    assert headers[b"content-length"] == b"7"
    assert headers[b"authorization"] == "Bearer täken".encode()
    assert json.loads(seen["request"]["body"]) == {"a": 1}


async def test_half_an_answer_is_none() -> None:
    async def silent(_: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()

    async def broken(_: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})

    for app in (silent, broken):
        with pytest.raises(NoAnswer, match="did not answer"):
            await asgi_call(app, WireCall("GET", "/"))


async def test_patience_has_an_end(autojump_clock: trio.testing.MockClock) -> None:
    async def hanging(_: dict[str, Any], receive: Any, send: Any) -> None:
        await trio.sleep_forever()

    with pytest.raises(NoAnswer, match="within 60 s"):
        await asgi_call(hanging, call_for(Sweep()))
    assert trio.current_time() >= 60


async def test_cancellation_ends_the_app() -> None:
    ended = []

    async def hanging(_: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    with trio.move_on_after(0.01) as scope:
        await asgi_call(hanging, WireCall("GET", "/"))
    assert scope.cancelled_caught
    assert ended == [True]
