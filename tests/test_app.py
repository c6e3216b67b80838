"""What a router does to its own process before it serves, and its life in the hands of a host."""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
import structlog.testing
import trio

from miles_router import __version__, app
from miles_router.app import run_router
from miles_router.config import Settings
from miles_router.core.log_ring import LogRing
from miles_router.errors import ConfigFault
from miles_router.log import make_log
from miles_router.net import gated_server
from miles_router.web import blueprints
from tests.web.asgi_client import AsgiClient
from tests.web.rig import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import ModuleType

    from miles_router.net.services import Services
    from miles_router.web.replies import App

ROOT = Path(__file__).parent.parent
NO_LIMIT = resource.RLIM_INFINITY
# Runs a router of its own and ends it once it serves, then tells what became of the process.
SCRIPT = """
import gc, json, os, resource, signal
from miles_router import app
from miles_router.config import Settings

resource.setrlimit(resource.RLIMIT_NOFILE, (300, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
settle = app.settle_memory

def settle_and_leave():
    settle()
    seen["frozen"] = gc.get_freeze_count()
    gc.callbacks.append(note_pass)
    held = [[] for _ in range(100_000)]  # as by a thousand generations in flight
    gc.callbacks.remove(note_pass)
    os.kill(os.getpid(), signal.SIGTERM)

def note_pass(phase, told):
    if phase == "start":
        seen["passes"].append((told["generation"], gc.get_count()[0]))

seen = {"passes": []}
app.settle_memory = settle_and_leave
seen["code"] = app.main(Settings(port=0, log_level="error"))
seen["descriptors"] = resource.getrlimit(resource.RLIMIT_NOFILE)
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def process() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["code"] == 0
    return found


@pytest.mark.loopback
def test_what_was_loaded_is_kept_from_the_garbage_collector(process: dict[str, Any]) -> None:
    assert process["frozen"] > 10_000


@pytest.mark.loopback
def test_what_is_in_flight_never_makes_the_collector_stop_the_loop_for_long(
    process: dict[str, Any],
) -> None:
    """A pass takes half a microsecond an object; all but the young ones look at all there is."""
    generations, objects = zip(*process["passes"], strict=True)
    assert set(generations) == {0}
    assert max(objects) < 6_000


@pytest.mark.loopback
def test_the_process_may_open_as_many_connections_as_the_system_grants(
    process: dict[str, Any],
) -> None:
    soft, hard = process["descriptors"]
    assert soft == (65_536 if hard == NO_LIMIT else min(65_536, hard))


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, 1_000_000), (65_536, 1_000_000)),
        ((1024, NO_LIMIT), (65_536, NO_LIMIT)),
        ((65_536, 1_000_000), None),
        ((4096, 4096), None),
        ((NO_LIMIT, NO_LIMIT), None),
    ],
)
def test_the_limit_of_descriptors_is_raised_and_never_lowered(
    limits: tuple[int, int], wanted: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    app.raise_descriptor_limit(structlog.get_logger())
    assert asked == ([] if wanted is None else [wanted])


def test_a_system_that_refuses_is_no_reason_not_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, _pair: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    logger = structlog.testing.CapturingLogger()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    app.raise_descriptor_limit(structlog.wrap_logger(logger, processors=[]))
    [call] = logger.calls
    assert (call.method_name, call.kwargs["event"]) == ("warning", "descriptor_limit")
    assert call.kwargs["limit"] == 256


# -- hosted by somebody else ----------------------------------------------------------------------


@dataclass
class Hosted:
    """A router in a nursery of the test."""

    services: Services
    app: App
    stops: trio.MemorySendChannel[str]
    ended: trio.Event
    lines: LogRing

    def said(self) -> list[str]:
        return [line.text for line in self.lines.since(0)]


@asynccontextmanager
async def hosted(**settings: Any) -> AsyncIterator[Hosted]:
    ring = LogRing()
    log = make_log("console", "info", ring=ring)
    send, receive = trio.open_memory_channel[str](2)
    ready = trio.Event()
    parts: list[tuple[Services, App]] = []
    ended = trio.Event()

    def on_ready(services: Services, app: App) -> None:
        parts.append((services, app))
        ready.set()

    async def run() -> None:
        chosen = Settings(port=0, **settings)
        await run_router(chosen, log, log_ring=ring, next_stop=receive.receive, on_ready=on_ready)
        ended.set()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await ready.wait()
            yield Hosted(*parts[0], send, ended, ring)
            nursery.cancel_scope.cancel()


@pytest.mark.loopback
async def test_a_host_gets_the_parts_of_a_router_that_answers() -> None:
    before = gc.get_freeze_count(), gc.get_threshold()
    async with hosted(policy="random") as router:
        services = router.services
        port = int(services.url.rpartition(":")[2])
        assert services.url == f"http://127.0.0.1:{port}"
        assert services.log_ring is router.lines
        async with httpx.AsyncClient(base_url=services.url, trust_env=False) as client:
            shown = (await client.get("/snapshot")).json()
        assert (shown["url"], shown["policy"]) == (services.url, "random")
        assert (await AsgiClient(router.app).get("/livez")).status == 200
        services.want_snapshots(10.0)
        await until(lambda: services.latest)
        assert services.latest is not None
        assert services.latest.boot_id == shown["boot_id"]
        assert router.said() == [f"listening url={services.url} version={__version__}"]
        assert (gc.get_freeze_count(), gc.get_threshold()) == before
        await router.stops.send("the test")
        await router.ended.wait()
        assert router.said()[1:] == [
            "shutting_down signal='the test' running=0 grace_s=30.0",
            "stopped",
        ]


@pytest.mark.loopback
async def test_a_request_finishes_after_the_first_stop_and_ends_with_the_second() -> None:
    async with hosted(queue_timeout_s=60) as router:
        outcome: list[Any] = []

        async def ask() -> None:
            async with httpx.AsyncClient(base_url=router.services.url, trust_env=False) as client:
                outcome.append(await client.post("/generate", json={"text": "a"}, timeout=20))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: router.services.admission.queued)
            await router.stops.send("q")
            await until(lambda: router.services.is_stopping)
            await trio.sleep(0.1)
            assert (outcome, router.ended.is_set()) == ([], False)
            await router.stops.send("q")
            await router.ended.wait()
        assert (outcome[0].status_code, outcome[0].json()["error"]["code"]) == (
            503,
            "shutting_down",
        )
        assert "shutting_down_now" in router.said()


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("middleware", "word"),
    [((), "the host does not"), (("no.such.module:Thing",), "no.such.module")],
)
async def test_what_cannot_be_used_is_one_fault_without_groups(
    middleware: tuple[str, ...], word: str
) -> None:
    async def never() -> str:
        await trio.sleep_forever()
        return ""

    def fail(_services: Services, _app: App) -> None:
        raise ConfigFault("the host does not like it")

    with pytest.raises(ConfigFault, match=word), trio.fail_after(10):
        await run_router(
            Settings(port=0, middleware=middleware),
            make_log("json", "error"),
            log_ring=LogRing(),
            next_stop=never,
            on_ready=fail,
        )


async def failure_of_a_router(**how: Any) -> pytest.ExceptionInfo[ExceptionGroup]:
    """What came out of a router that nobody stops."""
    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(10):
        await run_router(
            Settings(port=0),
            make_log("json", "error"),
            log_ring=LogRing(),
            next_stop=trio.sleep_forever,
            **how,
        )
    return caught


@pytest.mark.loopback
async def test_what_breaks_a_router_comes_out_of_it() -> None:
    def fail(_services: Services, _app: App) -> None:
        raise LookupError("a mistake of the host")

    caught = await failure_of_a_router(on_ready=fail)
    assert caught.group_contains(LookupError)


@pytest.mark.loopback
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize(
    ("part", "name"), [(blueprints, "make_own_app"), (gated_server, "GatedServer")]
)
async def test_a_part_that_cannot_be_loaded_ends_the_router(
    is_late: bool, part: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(part, name)
    urls: list[str] = []

    async def load_late(load: Callable[[], Awaitable[None]]) -> None:
        await until(lambda: urls)
        await load()

    caught = await failure_of_a_router(
        on_ready=lambda services, _app: urls.append(services.url),
        load_late=load_late if is_late else None,
    )
    assert caught.group_contains(ImportError, match=name)
    assert len(urls) == is_late, "what is not loaded late is loaded before connections are taken"


@pytest.mark.loopback
def test_a_router_lives_in_another_thread_and_is_told_to_stop_there() -> None:
    ready: SimpleQueue[tuple[str, trio.lowlevel.TrioToken, trio.MemorySendChannel[str]]]
    ready = SimpleQueue()

    async def live() -> None:
        send, receive = trio.open_memory_channel[str](2)

        def on_ready(services: Services, _app: App) -> None:
            ready.put((services.url, trio.lowlevel.current_trio_token(), send))

        log = make_log("json", "error")
        await run_router(
            Settings(port=0), log, log_ring=LogRing(), next_stop=receive.receive, on_ready=on_ready
        )

    thread = Thread(target=trio.run, args=(live,))
    thread.start()
    url, token, send = ready.get(timeout=20)
    assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200
    token.run_sync_soon(send.send_nowait, "q")
    thread.join(20)
    assert not thread.is_alive()
