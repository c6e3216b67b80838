"""The router's own routes are loaded when they are first asked for, and not in the loop."""

from __future__ import annotations

import random
import threading
from threading import current_thread
from typing import Any

import pytest
import trio
import trio.testing

from miles_router.assemble import assemble
from miles_router.config import Settings
from miles_router.web import blueprints
from miles_router.web.build import build_app
from miles_router.web.own_routes import OwnRoutes
from tests.web.asgi_client import AsgiClient
from tests.web.rig import SHORT, quiet_log


def late_router(nursery: trio.Nursery) -> tuple[AsgiClient, OwnRoutes]:
    """A router whose own routes nobody has loaded."""
    services = assemble(
        Settings(port=0, queue_timeout_s=0),
        background=nursery,
        log=quiet_log(),
        rng=random.Random(0),
    )
    own_routes = OwnRoutes(services)
    return AsgiClient(build_app(services, own_routes)), own_routes


async def test_ten_first_requests_are_served_by_routes_that_are_made_once_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, threads = blueprints.make_own_app, []
    may_go_on = threading.Event()

    def make_slowly(services: Any) -> Any:
        threads.append(current_thread())
        assert may_go_on.wait(20)
        return make(services)

    monkeypatch.setattr(blueprints, "make_own_app", make_slowly)
    statuses: list[int] = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            client, own_routes = late_router(nursery)

            async def ask() -> None:
                statuses.append((await client.get("/livez")).status)

            assert (await client.post("/generate", SHORT)).status == 503
            assert threads == [], "relaying does without them"
            for _ in range(10):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert (await client.post("/generate", SHORT)).status == 503, "it waits for nobody"
            assert (statuses, own_routes.quart.is_loaded.is_set()) == ([], False)
            may_go_on.set()
    assert statuses == [200] * 10
    assert len(threads) == 1
    assert threads[0] is not current_thread()


async def test_routes_that_cannot_be_loaded_end_the_router_and_not_one_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_services: Any) -> Any:
        raise ImportError("quart is not installed")

    monkeypatch.setattr(blueprints, "make_own_app", fail)

    async def ask() -> None:
        async with trio.open_nursery() as nursery:
            client, _ = late_router(nursery)
            await client.get("/livez")

    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(20):
        await ask()
    assert caught.group_contains(ImportError, match="not installed")
