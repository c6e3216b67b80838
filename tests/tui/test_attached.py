"""The screens' source on a real `serve` process: followed, steered, restarted under it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from miles_router.tui.answers import NEEDS_TOKEN
from miles_router.tui.commands import (
    Abort,
    Add,
    CommandRefused,
    Drain,
    Probe,
    Quarantine,
    Release,
    Remove,
    Undrain,
)
from miles_router.tui.http_source import HttpSource
from miles_router.tui.received import RESTARTED
from miles_router.tui.source import LinkState
from tests.system.rig import QUICK_HEALTH, Router, prompt, serving
from tests.tui.asyncio_tests import tui_test

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from miles_router.core.snapshot import Snapshot, WorkerView
    from miles_router.tui.commands import Command

pytestmark = pytest.mark.loopback

ADMIN = "admin-token-1234567890"
NOBODY = "http://127.0.0.1:9"  # the port of the discard service: nothing listens


@asynccontextmanager
async def following(url: str, **options: Any) -> AsyncIterator[HttpSource]:
    source = HttpSource(url, rate_hz=10.0, **options)
    task = asyncio.create_task(source.run())
    try:
        yield source
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  it happens in another process
            await asyncio.sleep(0.01)


def shown(source: HttpSource) -> Snapshot:
    found = source.latest()
    assert found is not None
    return found


def only(source: HttpSource) -> WorkerView:
    (worker,) = shown(source).workers
    return worker


async def refusal(source: HttpSource, command: Command) -> str:
    with pytest.raises(CommandRefused) as caught:
        await source.controls.perform(command)
    return str(caught.value)


async def steer(source: HttpSource) -> None:
    """Every command on the only worker; two requests run on it."""
    await until(lambda: source.latest() and len(shown(source).requests) == 2)
    assert shown(source).url == source.url
    worker_id, do = only(source).id, source.controls.perform
    name = only(source).url.removeprefix("http://")
    source.focus(worker_id)
    await until(lambda: shown(source).focus)
    focused = shown(source).focus
    assert focused is not None
    assert {one.request_id for one in focused.requests} == {"first", "second"}

    assert await do(Abort("first")) == "the request is aborted"
    await until(lambda: [one.request_id for one in shown(source).requests] == ["second"])
    assert "no request 'first' runs" in await refusal(source, Abort("first"))

    assert await do(Drain(worker_id)) == f"{name} is draining: 1 request in flight"
    await until(lambda: only(source).status == "draining")
    assert await do(Undrain(worker_id)) == f"{name} is active: it serves"
    assert await do(Quarantine(worker_id)) == f"{name} is quarantined: by an operator"
    assert "cannot take the step 'undrain'" in await refusal(source, Undrain(worker_id))
    assert (await do(Probe(worker_id))).startswith(f"{name} passed its check in ")
    assert (await do(Release(worker_id))).startswith(f"{name} is on probation")
    await until(lambda: only(source).status == "active")

    removed = await do(Remove(worker_id, cuts=True))
    assert removed == f"{name} is removed; what ran on it is cut"
    await until(lambda: not shown(source).workers and not shown(source).requests)
    await until(lambda: any(one.to_state == "removed" for one in source.events()))
    assert [one.seq for one in source.events()] == list(range(1, len(source.events()) + 1))
    await until(source.log_lines)
    assert any("listening" in line.text for line in source.log_lines())


async def test_a_worker_is_steered_and_its_requests_are_seen() -> None:
    async with (
        running_sim(SimSettings(tokens_per_s=50.0)) as sim,
        serving(*QUICK_HEALTH, workers=[sim.url]) as router,
        trio.open_nursery() as nursery,
    ):

        async def scenario() -> None:
            async with following(router.url) as source:
                await steer(source)

        for name in ("first", "second"):
            headers = {"X-Request-Id": name}
            body = prompt(tokens=3000)
            nursery.start_soon(router.post, "/generate", body, headers)
        await trio.to_thread.run_sync(tui_test(scenario))


@tui_test
async def test_a_restart_is_survived() -> None:
    first = await asyncio.to_thread(Router)
    flags = ("--port", str(first.port))
    second: Router | None = None
    try:
        async with following(first.url) as source:
            await until(lambda: source.latest() and source.log_lines())
            boot_id = shown(source).boot_id
            assert (await source.controls.perform(Add(NOBODY))).startswith("127.0.0.1:9 is reg")
            await until(source.events)
            before = list(source.events())
            first.terminate()
            await until(lambda: source.link.state is LinkState.LOST)
            assert source.link.detail == f"no router answers at {first.url}"
            assert list(source.events())[: len(before)] == before
            assert "no router answers" in await refusal(source, Drain("w1"))
            assert await asyncio.to_thread(first.wait) == 0
            second = await asyncio.to_thread(lambda: Router(*flags))
            await until(lambda: source.link.state is LinkState.LIVE)
            assert shown(source).boot_id != boot_id
            assert RESTARTED in [one.kind for one in source.events()]
            await source.controls.perform(Add(NOBODY))
            await until(lambda: source.events()[-1].url == NOBODY)
            assert list(source.events())[: len(before)] == before
    finally:
        for router in filter(None, (first, second)):
            router.close()


@tui_test
async def test_a_caller_without_the_admins_token_only_looks() -> None:
    router = await asyncio.to_thread(Router, "--admin-token", ADMIN)
    try:
        async with following(router.url) as source, following(router.url, token=ADMIN) as admin:
            await until(lambda: source.latest() and admin.latest())
            assert source.controls.refusal == NEEDS_TOKEN
            assert await refusal(source, Add(NOBODY)) == NEEDS_TOKEN
            assert admin.controls.refusal == ""
            await admin.controls.perform(Add(NOBODY))
            await until(lambda: [one.url for one in shown(source).workers] == [NOBODY])
            await until(lambda: [one.url for one in shown(admin).workers] == [NOBODY])
            assert shown(admin).boot_id
    finally:
        router.close()
