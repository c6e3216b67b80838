"""A router in a thread, seen and steered from the thread of the screens."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from miles_router import embed
from miles_router.config import Settings
from miles_router.demo import alive
from miles_router.demo.settings import DemoSettings
from miles_router.embed import embedded_router
from miles_router.errors import ConfigFault
from miles_router.tui.commands import Add, CommandRefused, Drain
from miles_router.tui.mishaps import Mishap
from miles_router.web import blueprints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from miles_router.embed import Beside, Embedded
    from miles_router.net.services import Services
    from miles_router.tui.bridge import TrioThread
    from miles_router.web.replies import App

pytestmark = pytest.mark.loopback


@contextmanager
def embedded(
    settings: Settings, *, is_read_only: bool = False, beside: Beside | None = None
) -> Iterator[tuple[TrioThread[Embedded], Embedded]]:
    thread = embedded_router(settings, is_read_only=is_read_only, beside=beside)
    router = thread.start()
    try:
        yield thread, router
    finally:
        thread.stop("the test is over")
        thread.stop("now")
        thread.join()


def until(check: Callable[[], object], *, timeout_s: float = 10.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.mark.parametrize("token", [None, "s3cret"])
def test_what_happens_over_there_is_seen_here(token: str | None) -> None:
    settings = Settings(port=0, admin_token=token, log_level="error")
    with embedded(settings) as (_, router):
        source = router.source
        assert source.url.startswith("http://127.0.0.1:")
        until(lambda: source.latest() is not None)
        said = asyncio.run(source.controls.perform(Add("http://127.0.0.1:9")))
        assert "127.0.0.1:9" in said
        until(lambda: (shown := source.latest()) is not None and len(shown.workers) == 1)
        until(source.events)
        events = source.events()
        assert source.events() is events, "the same until there is another"
        with pytest.raises(CommandRefused):
            asyncio.run(source.controls.perform(Drain("nobody")))


def test_log_lines_are_seen_and_kept_as_one_list() -> None:
    with embedded(Settings(port=0)) as (_, router):
        until(lambda: any("listening" in line.text for line in router.source.log_lines()))
        lines = router.source.log_lines()
        assert router.source.log_lines() is lines


def test_warnings_and_failed_threads_are_lines_of_the_log() -> None:
    with embedded(Settings(port=0)) as (_, router):
        assert router.log_mishap(Mishap("python_warning", "a.py:1: UserWarning: old"))
        assert router.log_mishap(Mishap("thread_failed", "helper", LookupError("lost")))
        until(lambda: any("thread_failed" in line.text for line in router.source.log_lines()))
        shown = {line.level: line.text for line in router.source.log_lines()}
        assert "a.py:1: UserWarning: old" in shown["warning"]
        assert "thread=helper" in shown["error"]
        assert "LookupError: lost" in shown["error"]
    assert not router.log_mishap(Mishap("python_warning", "too late"))


def test_screens_say_how_often_they_look() -> None:
    with embedded(Settings(port=0, log_level="error")) as (_, router):

        def counted() -> int:
            seen, give_up_at = set(), time.monotonic() + 1.5
            while time.monotonic() < give_up_at:
                shown = router.source.latest()
                seen.add(0.0 if shown is None else shown.uptime_s)
                time.sleep(0.01)
            return len(seen)

        router.source.rate_hz = 1.0
        time.sleep(0.3)
        slow = counted()
        router.source.rate_hz = 10.0
        assert slow <= 3 < counted()


@pytest.mark.parametrize(
    ("settings", "needed"), [({}, False), ({"admin_token": "s3cret"}, True)], ids=str
)
def test_it_is_known_whether_a_token_is_needed(settings: dict[str, str], needed: bool) -> None:
    with embedded(Settings(port=0, log_level="error", **settings)) as (_, router):  # type: ignore[arg-type]
        assert router.needs_token is needed


def test_nobody_steers_where_nothing_may_be_changed() -> None:
    settings = Settings(port=0, log_level="error")
    with (
        embedded(settings, is_read_only=True) as (_, router),
        pytest.raises(CommandRefused, match="read-only"),
    ):
        asyncio.run(router.source.controls.perform(Add("http://127.0.0.1:9")))


def test_snapshots_end_when_nobody_looks() -> None:
    with embedded(Settings(port=0, log_level="error")) as (_, router):
        until(lambda: router.source.latest() is not None)
        router.unwatched()
        time.sleep(0.5)
        last = router.source.latest()
        time.sleep(0.5)
        assert router.source.latest() is last
        assert router.outlook() == "stopping"


def test_what_the_first_screen_does_without_is_not_loaded_with_the_router() -> None:
    late = {"quart", "flask", "jinja2", "werkzeug", "hypercorn", "h2", "wsproto"}
    code = f"import sys, miles_router.embed; print({late} & set(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert loaded.stdout == "set()\n"


def test_own_routes_are_served_before_anybody_has_loaded_them_and_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, made, settled = blueprints.make_own_app, [], []

    def make_once(services: Services) -> App:
        made.append(threading.current_thread())
        return make(services)

    monkeypatch.setattr(blueprints, "make_own_app", make_once)
    monkeypatch.setattr(embed, "settle_memory", lambda: settled.append(len(made)))
    with embedded(Settings(port=0, log_level="error")) as (_, router):
        assert made == []
        assert httpx.get(f"{router.source.url}/livez", trust_env=False).status_code == 200
        assert (len(made), settled) == (1, [])
        router.shown()
        until(lambda: settled == [1])
        assert httpx.get(f"{router.source.url}/livez", trust_env=False).status_code == 200
    with embedded(Settings(port=0, log_level="error")) as (_, router):
        router.shown()
        until(lambda: settled == [1, 2])


def test_a_taken_port_is_a_fault_of_the_settings_and_nothing_else() -> None:
    with embedded(Settings(port=0, log_level="error")) as (_, router):
        port = int(router.source.url.rpartition(":")[2])
        thread = embedded_router(Settings(port=port, log_level="error"), is_read_only=False)
        with pytest.raises(ConfigFault, match="the port is taken"):
            thread.start()


def test_what_runs_beside_it_ends_when_the_router_is_told_to_stop() -> None:
    seen: list[str] = []

    async def beside(url: str) -> None:
        seen.append(url)
        try:
            await trio.sleep_forever()
        finally:
            seen.append("over")

    with embedded(Settings(port=0, log_level="error"), beside=beside) as (_, router):
        until(lambda: seen)
    assert seen == [router.source.url, "over"]


def test_what_fails_beside_it_ends_the_router_with_its_error() -> None:
    async def beside(_: str) -> None:
        raise LookupError("beside")

    thread = embedded_router(Settings(port=0, log_level="error"), is_read_only=False, beside=beside)
    thread.start()
    with pytest.raises(ExceptionGroup) as raised:
        thread.join()
    assert raised.group_contains(LookupError, match="beside")


def test_a_demonstration_comes_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "FIRST_INCIDENT_S", 0.5)
    monkeypatch.setattr(alive, "INCIDENT_S", 1.5)
    monkeypatch.setattr(alive, "BETWEEN_INCIDENTS_S", 0.2)
    shape = DemoSettings(prompts=2, samples=2, turns=2, workers=2, concurrency=2, tokens_per_s=400)
    settings = Settings(port=0, health_interval_s=0.2, health_timeout_s=2.0, log_level="error")

    with embedded(settings, beside=partial(alive.live, shape)) as (_, router):
        source = router.source

        def states() -> set[str | None]:
            return {event.to_state for event in source.events()}

        until(lambda: {"active", "quarantined", "draining"} <= states(), timeout_s=40)
        shown = source.latest()
        assert shown is not None
        assert shown.totals.requests > 4
        until(lambda: any(event.kind == "weight_version" for event in source.events()))
