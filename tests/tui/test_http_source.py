from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpcore
import httpx
import pytest

from miles_router.core.events import Event
from miles_router.core.log_ring import LogLine
from miles_router.tui import http_source
from miles_router.tui.answers import NEEDS_TOKEN, WRONG_TOKEN
from miles_router.tui.http_source import HttpSource
from miles_router.tui.received import RESTARTED
from miles_router.tui.source import LinkState
from tests.tui.asyncio_tests import tui_test
from tests.tui.fake_router import FakeRouter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

URL = "http://router:30000"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_source, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(http_source, "LAST_RETRY_S", 0.04)
    monkeypatch.setattr(http_source, "LOG_INTERVAL_S", 0.01)


@asynccontextmanager
async def following(router: FakeRouter, **options: Any) -> AsyncIterator[HttpSource]:
    options = {"rate_hz": 200.0, **options}
    source = HttpSource(URL, transport=router.transport(), **options)
    task = asyncio.create_task(source.run())
    try:
        yield source
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.002)


def event(seq: int) -> Event:
    return Event(seq, float(seq), "state", f"event {seq}")


def seqs(source: HttpSource) -> list[int]:
    return [one.seq for one in source.events()]


@tui_test
async def test_snapshots_come() -> None:
    router = FakeRouter()
    async with following(router) as source:
        assert (source.link.state, source.latest()) == (LinkState.WAITING, None)
        await until(source.latest)
        assert source.latest() == router.snapshot
        assert source.link.state is LinkState.LIVE
        router.change(uptime_s=99.0)
        await until(lambda: source.latest() == router.snapshot)
    assert set(router.asked_for("/snapshot")) == {"/snapshot?events=0"}


@tui_test
async def test_the_rate_can_be_changed() -> None:
    router = FakeRouter()
    async with following(router, rate_hz=1.0) as source:
        await until(source.latest)
        await asyncio.sleep(0.1)
        assert len(router.asked_for("/snapshot")) == 1
        source.rate_hz = 200.0
        source.reconnect()
        await until(lambda: len(router.asked_for("/snapshot")) > 5)


@tui_test
async def test_the_focus_is_asked_for() -> None:
    router = FakeRouter()
    async with following(router) as source:
        source.focus("w 1")
        await until(lambda: "/snapshot?events=0&focus=w%201" in router.asked)
        source.focus(None)
        await until(lambda: router.asked_for("/snapshot")[-1] == "/snapshot?events=0")


@tui_test
async def test_events_follow() -> None:
    router = FakeRouter()
    router.events = [event(1), event(2)]
    router.change()
    async with following(router) as source:
        await until(lambda: seqs(source) == [1, 2])
        router.events.append(event(3))
        router.tell()
        await until(lambda: seqs(source) == [1, 2, 3])
        assert router.asked_for("/events") == ["/events?since=0"]
        assert router.streams == 1
    assert router.streams == 0


@tui_test
async def test_a_long_history_is_not_read_from_its_beginning() -> None:
    router = FakeRouter()
    router.change(last_event_seq=9_000)
    async with following(router):
        await until(lambda: router.asked_for("/events"))
    assert router.asked_for("/events") == ["/events?since=7000"]


@tui_test
async def test_a_lost_router_leaves_what_is_known() -> None:
    router = FakeRouter()
    router.events = [event(1)]
    router.change()
    async with following(router) as source:
        await until(lambda: seqs(source) == [1])
        shown = source.latest()
        router.is_up = False
        router.tell()
        await until(lambda: source.link.state is LinkState.LOST)
        since = source.link.since
        assert source.link.detail == f"no router answers at {URL}"
        assert source.link.retry_at is not None
        first = source.link.retry_at
        await until(lambda: (source.link.retry_at or 0.0) > first + 0.08)
        assert source.link.since == since, "the banner's age does not begin again with each try"
        assert source.latest() == shown
        assert seqs(source) == [1]
        router.events.append(event(2))
        router.is_up = True
        await until(lambda: source.link.state is LinkState.LIVE)
        await until(lambda: seqs(source) == [1, 2])
        assert router.asked_for("/events")[-1] == "/events?since=1"


@tui_test
async def test_retries_become_seldom_and_can_be_hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_source, "FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(http_source, "LAST_RETRY_S", 60.0)
    router = FakeRouter()
    router.is_up = False
    async with following(router) as source:
        await until(lambda: len(router.asked) == 4)
        waits = (source.link.retry_at or 0.0) - time.monotonic()
        assert 0.3 < waits <= 0.4
        router.is_up = True
        source.reconnect()
        await until(source.latest)
        assert source.link.state is LinkState.LIVE


@tui_test
async def test_a_restarted_router_counts_anew() -> None:
    router = FakeRouter()
    router.events = [event(1), event(2), event(3)]
    router.change()
    async with following(router, unix_clock=lambda: 50_000.0) as source:
        await until(lambda: seqs(source) == [1, 2, 3])
        router.restart("boot-2", event(1))
        await until(lambda: seqs(source) == [1, 2, 3, 0, 1])
        assert source.events()[3].kind == RESTARTED
        shown = source.latest()
        assert shown is not None
        assert source.events()[3].time_s == 50_000.0 - shown.uptime_s
        assert router.asked_for("/events")[-1] == "/events?since=0"
        assert router.streams == 1, "the stream of the router before is let go"


@tui_test
async def test_the_log_is_fetched_while_somebody_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_source, "LOG_WANTED_S", 0.1)
    router = FakeRouter()
    router.lines = [LogLine(1, 1.0, "info", "one")]
    router.change()
    async with following(router) as source:
        await until(source.latest)
        await asyncio.sleep(0.05)
        assert router.asked_for("/log") == []
        await until(source.log_lines)
        await until(lambda: len(source.log_lines()) == 1)
        asked = len(router.asked_for("/log"))
        await asyncio.sleep(0.05)
        assert len(router.asked_for("/log")) == asked, "nothing new, nothing asked"
        router.lines.append(LogLine(2, 2.0, "warning", "two"))
        router.change()
        await until(lambda: len(source.log_lines()) == 2)
        await asyncio.sleep(0.15)
        router.lines.append(LogLine(3, 3.0, "info", "three"))
        router.change()
        await asyncio.sleep(0.05)
        assert router.asked_for("/log")[-1] == "/log?since=1", "nobody reads it any more"
        router.restart("boot-2")
        router.lines = [LogLine(1, 9.0, "info", "begun")]
        router.change()
        await until(lambda: [one.seq for one in source.log_lines()] == [1, 2, 0, 1])


@tui_test
async def test_without_the_admins_token_the_workers_are_shown() -> None:
    router = FakeRouter()
    router.token = "right"
    async with following(router) as source:
        await until(source.latest)
        shown = source.latest()
        assert shown is not None
        assert shown.workers == router.snapshot.workers
        assert shown.requests == ()
        assert source.link.state is LinkState.LIVE
        assert source.controls.refusal == NEEDS_TOKEN
        await until(lambda: len(router.asked_for("/workers")) > 5)
        assert len(router.asked_for("/snapshot")) == 1, "it does not ask again and again"
        assert router.asked_for("/events") == []
        router.token = None
        source.reconnect()
        await until(lambda: source.latest() == router.snapshot)
        assert source.controls.refusal == ""
        await until(lambda: router.asked_for("/events"))


@tui_test
async def test_a_wrong_token_is_called_so() -> None:
    router = FakeRouter()
    router.token = "right"
    async with following(router, token="wrong") as source:
        await until(source.latest)
        assert source.controls.refusal == WRONG_TOKEN


@tui_test
async def test_the_right_token() -> None:
    router = FakeRouter()
    router.token = "right"
    async with following(router, token="right") as source:
        await until(source.latest)
        assert source.latest() == router.snapshot
        assert source.controls.refusal == ""


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (httpx.Response(200, html="<html>"), f"what answers at {URL} is not a miles-router"),
        (httpx.Response(404, text="no"), f"what answers at {URL} (404) is not a miles-router"),
        (httpx.Response(401, text="no"), f"{URL} asks for a token or key: start with"),
        (httpx.Response(307, headers={"location": "/login"}), f"what answers at {URL} (307)"),
        (
            httpx.Response(200, json={"boot_id": "x", "version": "9.0"}),
            f"the router at {URL} speaks another version: it is 9.0",
        ),
    ],
)
def test_something_else_answers(odd: httpx.Response, told: str) -> None:
    async def watch() -> None:
        router = FakeRouter()
        router.odd = odd
        async with following(router, token="secret-token-123") as source:
            await until(lambda: source.link.state is LinkState.LOST)
            assert source.link.detail.startswith(told)
            assert "secret" not in source.link.detail
            router.odd = None
            await until(lambda: source.link.state is LinkState.LIVE)

    tui_test(watch)()


@pytest.mark.parametrize(
    "broken",
    [
        OSError("no buffers"),
        UnicodeError("label too long"),
        httpx.StreamClosed(),
        httpx.CookieConflict("two of one name"),
        anyio.BrokenResourceError(),
        anyio.ClosedResourceError(),
        anyio.BusyResourceError("reading from"),
        anyio.EndOfStream(),
        httpcore.ConnectionNotAvailable(),
        ssl.SSLError(1, "bad record mac"),
    ],
    ids=repr,
)
def test_what_breaks_below_http_is_told_and_tried_again(broken: Exception) -> None:
    async def watch() -> None:
        router = FakeRouter()
        async with following(router) as source:
            await until(source.latest)
            router.broken = broken
            await until(lambda: source.link.state is LinkState.LOST)
            assert f"broke ({type(broken).__name__}: {broken})" in source.link.detail
            assert source.link.retry_at is not None
            asked = len(router.asked)
            await until(lambda: len(router.asked) > asked + 2)
            router.broken = None
            await until(lambda: source.link.state is LinkState.LIVE)

    tui_test(watch)()


@tui_test
async def test_a_mistake_of_its_own_is_raised() -> None:
    router = FakeRouter()
    router.broken = KeyError("odd")
    source = HttpSource(URL, transport=router.transport())
    with pytest.raises(ExceptionGroup) as caught:
        await source.run()
    assert [repr(one) for one in caught.value.exceptions] == ["KeyError('odd')"]


@tui_test
async def test_a_router_that_hangs_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_source, "ANSWER_TIMEOUT_S", 0.05)
    router = FakeRouter()
    async with following(router) as source:
        await until(source.latest)
        router.hangs = True
        await until(lambda: source.link.state is LinkState.LOST)
        assert source.link.detail == f"the router at {URL} did not answer within 0.05 s"


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("router:30000", None),
        ("ftp://router", None),
        ("http://", None),
        ("http://[::1", None),
        ("http://router:99999", None),
        ("http://router:0", None),
        ("http://router", "pass\nword"),
        ("http://router", "pässword"),
    ],
)
def test_what_cannot_be_followed(url: str, token: str | None) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words differ
        HttpSource(url, token=token)
    assert token is None or token not in str(caught.value)
