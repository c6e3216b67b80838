"""The real `serve` process on a real port, and ways to talk to it and to its workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import trio

from miles_router.sim import RunningSim, SimSettings, running_sim
from tests.sim.raw_client import Answer, RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.doubles.servers import Server

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 30.0
QUICK_HEALTH = ("--health-interval-s", "0.3", "--health-timeout-s", "2")
# What must not be in the log of any router: mistakes of its own.
FAILURES = {"abort_failed", "connection_failed", "probe_failed", "request_failed", "task_failed"}


class Router:
    """One `serve` process."""

    def __init__(
        self, *flags: str, env: dict[str, str] | None = None, server: Server = "lane"
    ) -> None:
        module = "miles_router" if server == "lane" else "tests.doubles.servers"
        self._log_file = tempfile.TemporaryFile(mode="w+b")  # noqa: SIM115  closed by `close`
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "serve", "--log-format", "json", *flags]
            + ([] if "--port" in flags else ["--port", "0"]),
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stderr=self._log_file,
        )
        self.url = self._wait_listening()

    def _wait_listening(self) -> str:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            for line in self.log():
                if line["event"] == "listening":
                    return str(line["url"])
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        said = self.said()
        self.close()
        raise AssertionError(f"the router did not start: {said}")

    def said(self) -> str:
        """Everything the process has written to standard error."""
        return os.pread(self._log_file.fileno(), 1 << 26, 0).decode()

    def log(self) -> list[dict[str, Any]]:
        """The log's complete lines."""
        return [json.loads(line) for line in self.said().splitlines(keepends=True) if "\n" in line]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == name]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    async def call(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        async with self.connected() as client:
            return await client.request(method, target, body, headers)

    async def post(self, target: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        return await self.call("POST", target, body, headers)

    async def snapshot(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.call("GET", "/snapshot")).json()
        return found

    async def state_of(self, url: str) -> str:
        """The state of the worker at `url`."""
        views = (await self.snapshot())["workers"]
        return next((str(view["status"]) for view in views if view["url"] == url), "gone")

    async def wait_state(self, url: str, *states: str, timeout_s: float = 10.0) -> None:
        """Return when the worker at `url` is in one of `states`."""

        async def is_there() -> bool:
            return await self.state_of(url) in states

        await eventually(is_there, timeout_s=timeout_s)

    async def history_of(self, url: str) -> list[str]:
        """The states the worker at `url` went through."""
        events = (await self.snapshot())["events"]
        mine = [event for event in events if event.get("url") == url]
        return [event["to_state"] for event in mine if event.get("to_state")]

    async def totals(self) -> dict[str, Any]:
        return dict((await self.snapshot())["totals"])

    async def wait_descriptors(self, most: int) -> None:
        """Return when the process holds at most `most` descriptors: no connection leaks."""
        await wait_until(lambda: self.descriptors <= most, timeout_s=8)

    async def wait_inflight(self, count: int) -> None:
        async def is_there() -> bool:
            return bool((await self.totals())["inflight"] == count)

        await eventually(is_there)

    async def wait_queued(self, count: int) -> None:
        async def is_there() -> bool:
            return bool((await self.totals())["queued"] == count)

        await eventually(is_there)

    async def check_idle(self, *, timeout_s: float = 5.0) -> None:
        """Nothing runs or waits any more, and the router made no mistake of its own."""

        async def is_idle() -> bool:
            shown = await self.snapshot()
            totals = shown["totals"]
            return not (totals["inflight"] or totals["queued"] or shown["requests"])

        await eventually(is_idle, timeout_s=timeout_s)
        failures = [line for line in self.log() if line["event"] in FAILURES]
        assert failures == [], json.dumps(failures[0], indent=1)

    def connected(self) -> Connecting:
        """A raw client on a connection of its own."""
        return Connecting(self.port)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = 20.0) -> int:
        return self.process.wait(timeout_s)

    async def exit_code(self, timeout_s: float = 20.0) -> int:
        return await trio.to_thread.run_sync(self.wait, timeout_s)

    def close(self) -> None:
        """End the process if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log_file.close()


class Connecting:
    """A connected `RawClient` as an async context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stream: trio.SocketStream

    async def __aenter__(self) -> RawClient:
        self._stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        return RawClient(self._stream)

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self._stream)


@asynccontextmanager
async def serving(
    *flags: str, workers: Sequence[str] = (), env: dict[str, str] | None = None
) -> AsyncIterator[Router]:
    """A router of one's own; afterwards it is idle and ends with 0 on SIGTERM."""
    named = [part for url in workers for part in ("--worker", url)]
    router = await trio.to_thread.run_sync(lambda: Router(*flags, *named, env=env))
    try:
        for url in workers:
            await router.wait_state(url, "active")
        yield router
        if router.process.poll() is None:
            await router.check_idle()
            router.terminate()
            assert await router.exit_code() == 0
    finally:
        router.close()


@asynccontextmanager
async def joined(router: Router, *settings: SimSettings) -> AsyncIterator[list[RunningSim]]:
    """Workers inside this process, registered over HTTP for the length of the block."""
    async with AsyncExitStack() as stack:
        sims = [await stack.enter_async_context(running_sim(one)) for one in settings]
        try:
            for sim in sims:
                answer = await router.post("/workers?wait=10", {"url": sim.url})
                assert answer.status == 200, answer.body
            yield sims
            await router.check_idle()
        finally:
            with trio.move_on_after(5, shield=True):
                for sim in sims:
                    gone = await router.call("DELETE", f"/workers/{quote(sim.url, safe='')}")
                    assert gone.status == 202, gone.body


def prompt(text: str = "hello", *, tokens: int = 4, **fields: Any) -> dict[str, Any]:
    """A `/generate` body for exactly `tokens` new tokens."""
    params = {"max_new_tokens": tokens, "ignore_eos": True, **fields.pop("params", {})}
    return {"text": text, "sampling_params": params, **fields}


async def wait_until(check: Callable[[], object], *, timeout_s: float = 5.0) -> None:
    """Return when `check()` is true."""

    async def is_there() -> bool:
        return bool(check())

    await eventually(is_there, timeout_s=timeout_s)


async def eventually(check: Callable[[], Awaitable[bool]], *, timeout_s: float = 5.0) -> None:
    """Return when `await check()` is true."""
    with trio.fail_after(timeout_s):
        while not await check():  # noqa: ASYNC110  it happens in another process
            await trio.sleep(0.01)


async def read_chunks(client: RawClient) -> None:
    """Read a chunked answer to its end, within 15 s: as long as terminals are waited for."""
    with trio.fail_after(15):
        while await client.chunk():
            pass
