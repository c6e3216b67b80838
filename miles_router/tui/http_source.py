"""The screens' source for a router behind HTTP: polls, follows and asks again, on asyncio.

Three tasks: one polls `/snapshot` and decides the state of the link, one follows `/events`, one
fetches log lines while somebody reads them. The first alone tells when the router is there; the
others wait for it. What came before a lost link or a restart stays (see `received`). Where the
caller is not the admin, `/workers` shows what a rollout key may see, and no command is sent.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  it runs on the screens' loop
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import httpx

from miles_router.tui import answers
from miles_router.tui.answers import Denied, Trouble
from miles_router.tui.event_stream import EventStream, NotEvents
from miles_router.tui.http_controls import HttpControls
from miles_router.tui.received import Received
from miles_router.tui.source import Link, LinkState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from miles_router.core.events import Event
    from miles_router.core.log_ring import LogLine
    from miles_router.core.snapshot import Snapshot

# The router answers a snapshot from memory, in milliseconds.
ANSWER_TIMEOUT_S = 5.0
# It sends a comment every 15 s on a quiet stream of events.
STREAM_SILENCE_S = 40.0
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 5.0
# Log lines are fetched for so long after somebody looked at them, and so often.
LOG_WANTED_S = 3.0
LOG_INTERVAL_S = 0.5
# How often a caller who is not the admin tries whether it is now.
DENIED_S = 30.0


class HttpSource:
    """A `Source` for the router at `url`; `rate_hz` (polls per second) may be changed at any time.

    Raises:
        ValueError: `url` is none, or `token` cannot stand in a header.
    """

    is_local = False

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        is_read_only: bool = False,
        rate_hz: float = 5.0,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        unix_clock: Callable[[], float] = time.time,  # noqa: TID251  events carry Unix time
    ) -> None:
        _check(url, token)
        self.url = url.rstrip("/")
        self.rate_hz = rate_hz
        self.controls = HttpControls(self.url, is_read_only=is_read_only)
        self._token = token
        self._transport = transport
        self._clock, self._unix_clock = clock, unix_clock
        self._received = Received()
        self._link = Link(LinkState.WAITING, clock())
        self._focus: str | None = None
        self._denied_until: float | None = None
        self._log_wanted_until = -1.0
        self._hurry = asyncio.Event()
        self._arrived = asyncio.Condition()
        self._stream_scope: asyncio.Timeout | None = None

    @property
    def link(self) -> Link:
        """The state of the connection."""
        return self._link

    def latest(self) -> Snapshot | None:
        """The newest snapshot."""
        return self._received.snapshot

    def events(self) -> Sequence[Event]:
        """The newest events, oldest first."""
        return self._received.events()

    def log_lines(self) -> Sequence[LogLine]:
        """The newest log lines, oldest first; they are fetched while this is called."""
        self._log_wanted_until = self._clock() + LOG_WANTED_S
        return self._received.lines()

    def focus(self, worker_id: str | None) -> None:
        """Ask that snapshots list the oldest requests of this worker."""
        self._focus = worker_id

    def reconnect(self) -> None:
        """Try a lost link now; and whether the caller is the admin now."""
        self._denied_until = None
        self._hurry.set()

    async def run(self) -> None:
        """Keep everything fresh until cancelled.

        Raises:
            ExceptionGroup: a task failed by a mistake of its own (see `answers.is_break`).
        """
        retry_s = FIRST_RETRY_S
        while True:
            broken = await self._run_once()
            retry_s = FIRST_RETRY_S if self._link.state is LinkState.LIVE else retry_s
            self._lose(broken, retry_s)
            self._hurry.clear()
            await self._wait(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    async def _run_once(self) -> str:
        """Run the tasks until something breaks; what did."""
        broken = ""
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        async with httpx.AsyncClient(
            base_url=self.url,
            headers=headers,
            trust_env=False,
            transport=self._transport,
            timeout=ANSWER_TIMEOUT_S,
        ) as http:
            self.controls.http = http
            try:
                async with asyncio.TaskGroup() as group:
                    for task in (self._poll, self._follow_events, self._follow_log):
                        group.create_task(task(http))
            except ExceptionGroup as group:
                _, mistakes = group.split(answers.is_break)
                if mistakes is not None:
                    raise mistakes from None
                error = group.exceptions[0]
                broken = f"the connection to {self.url} broke ({type(error).__name__}: {error})"
            finally:
                self.controls.http = None
        return broken

    # -- snapshots ----------------------------------------------------------------------------

    async def _poll(self, http: httpx.AsyncClient) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            begun_at = self._clock()
            self._hurry.clear()
            try:
                snapshot = await self._fetch(http)
            except Trouble as trouble:
                self._lose(str(trouble), retry_s)
                await self._wait(retry_s)
                retry_s = min(2 * retry_s, LAST_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            await self._take(snapshot)
            await self._wait(max(0.0, begun_at + 1 / self.rate_hz - self._clock()))

    async def _wait(self, seconds: float) -> None:
        """Until then, or until somebody wants it sooner."""
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return

    async def _fetch(self, http: httpx.AsyncClient) -> Snapshot:
        if self._denied_until is None or self._clock() >= self._denied_until:
            focus = "" if self._focus is None else f"&focus={quote(self._focus, safe='')}"
            status, body = await self._get(http, f"/snapshot?events=0{focus}")
            try:
                snapshot = answers.read_snapshot(self.url, status, body)
            except Denied:
                self._denied_until = self._clock() + DENIED_S
                has_token = self._token is not None
                self.controls.denial = answers.WRONG_TOKEN if has_token else answers.NEEDS_TOKEN
            else:
                self._denied_until, self.controls.denial = None, ""
                return snapshot
        status, body = await self._get(http, "/workers")
        return answers.read_workers(self.url, status, body)

    async def _get(self, http: httpx.AsyncClient, target: str) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await http.get(target)
        except (httpx.HTTPError, TimeoutError) as error:
            raise answers.trouble_of(self.url, error, timeout_s=ANSWER_TIMEOUT_S) from None
        return answer.status_code, answer.content

    async def _take(self, snapshot: Snapshot) -> None:
        is_new_boot = self._received.take(snapshot, unix_now_s=self._unix_clock())
        if is_new_boot and self._stream_scope is not None:  # it counts from another beginning
            self._stream_scope.reschedule(-1.0)
            self._stream_scope = None
        if self._link.state is not LinkState.LIVE:
            self._link = Link(LinkState.LIVE, self._clock())
        async with self._arrived:
            self._arrived.notify_all()

    def _lose(self, detail: str, retry_s: float) -> None:
        """Note that it does not answer: what else is known about it may be different then."""
        now = self._clock()
        is_news = self._link.state is not LinkState.LOST
        self._link = Link(
            LinkState.LOST, now if is_news else self._link.since, detail, now + retry_s
        )
        self._denied_until = None

    async def _next_snapshot(self) -> None:
        """Return when one has come from a router that takes this caller for its admin."""
        async with self._arrived:
            await self._arrived.wait()
            await self._arrived.wait_for(lambda: not self.controls.denial)

    # -- events and log -----------------------------------------------------------------------

    async def _follow_events(self, http: httpx.AsyncClient) -> None:
        """Read one stream after another; each begins behind what the last snapshot's boot sent."""
        while True:
            await self._next_snapshot()
            try:
                async with asyncio.timeout(None) as self._stream_scope:
                    await self._read_stream(http)
            except (httpx.HTTPError, TimeoutError, NotEvents):
                pass  # the poll tells what is wrong, if it is not only this connection
            finally:
                self._stream_scope = None
            await asyncio.sleep(FIRST_RETRY_S)

    async def _read_stream(self, http: httpx.AsyncClient) -> None:
        received, stream = self._received, EventStream()
        patience = httpx.Timeout(ANSWER_TIMEOUT_S, read=STREAM_SILENCE_S)
        target = f"/events?since={received.events_seq}"
        async with http.stream("GET", target, timeout=patience) as answer:
            if answer.status_code != 200:
                return
            async for data in answer.aiter_bytes():
                received.take_events(stream.feed(data))

    async def _follow_log(self, http: httpx.AsyncClient) -> None:
        received = self._received
        while True:
            await self._next_snapshot()
            newest = 0 if received.snapshot is None else received.snapshot.log_seq
            if self._clock() > self._log_wanted_until or newest <= received.log_seq:
                continue
            try:
                status, body = await self._get(http, f"/log?since={received.log_seq}")
                page = answers.read_log(self.url, status, body)
            except Trouble:
                page = None  # the next snapshot tells whether it is worth another try
            if page is not None and page.boot_id == received.boot_id:
                received.take_lines(page.lines)
            await asyncio.sleep(LOG_INTERVAL_S)


def _check(url: str, token: str | None) -> None:
    parts = urlsplit(url)  # raises ValueError where brackets do not pair
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError(f"{url!r} is not the URL of a router; write http://HOST:PORT")
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not a URL: {error}") from None
    if token is not None and not (token.isascii() and token.isprintable()):
        raise ValueError("the admin token has characters that a header cannot carry")
