"""Several workers, each a process of its own that can be killed and brought back on its port.

Invariant: when the block that opened a fleet is left, by whatever way, none of its processes is
alive.
"""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from miles_router.sim.settings import SimSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
DEFAULT_COMMAND = (sys.executable, "-m", "miles_router.sim")

_URL_MARK = "listening on "


class WorkerDied(RuntimeError):
    """A worker process ended before it listened; the message carries its last words."""


def arguments(settings: SimSettings) -> list[str]:
    """The command line flags that say `settings`; defaults are left out."""
    found: list[str] = []
    for field in dataclasses.fields(SimSettings):
        value = getattr(settings, field.name)
        if value == field.default:
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            found.append(flag if value else "--no-" + flag.removeprefix("--"))
        elif isinstance(value, tuple):
            for one in value:
                found += [flag, str(one)]
        else:
            found += [flag, str(value)]
    return found


def _stderr_of(process: trio.Process) -> trio.abc.ReceiveStream:
    if process.stderr is None:
        raise RuntimeError("a worker's standard error must be a pipe")
    return process.stderr


class FleetWorker:
    """One worker process; made by `open_fleet`."""

    def __init__(
        self, settings: SimSettings, command: Sequence[str], nursery: trio.Nursery
    ) -> None:
        self.settings = settings
        self.url = ""
        self.process: trio.Process | None = None
        self.last_lines: deque[str] = deque(maxlen=50)
        self._command = tuple(command)
        self._nursery = nursery

    @property
    def port(self) -> int:
        """The port it listens on, the same after a restart."""
        return int(self.url.rpartition(":")[2])

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.returncode is None

    async def start(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the process and wait until it answers.

        Raises:
            WorkerDied: it ended first.
            trio.TooSlowError: it did not answer in time.
        """
        if self.is_alive:
            raise RuntimeError(f"worker {self.url} runs already; stop or kill it first.")
        settings = self.settings
        if self.url:
            settings = dataclasses.replace(settings, port=self.port)
        self.process = await trio.lowlevel.open_process(
            [*self._command, *arguments(settings)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        with trio.fail_after(timeout_s):
            self.url = await self._nursery.start(self._read_stderr, self.process)
            await self._wait_answering()

    async def _read_stderr(
        self, process: trio.Process, *, task_status: trio.TaskStatus[str]
    ) -> None:
        """Keep what the process says; starts with the URL it announces."""
        is_announced = False
        rest = b""
        async with _stderr_of(process) as stderr:
            async for data in stderr:
                *lines, rest = (rest + data).split(b"\n")
                for raw in lines:
                    line = raw.decode(errors="replace")
                    self.last_lines.append(line)
                    if _URL_MARK in line and not is_announced:
                        is_announced = True
                        task_status.started(line.rpartition(_URL_MARK)[2].strip())
        if not is_announced:
            said = "\n".join([*self.last_lines, rest.decode(errors="replace")]).strip()
            raise WorkerDied(f"a simulated worker ended before it listened: {said or 'no output'}")

    async def _wait_answering(self) -> None:
        stream = await trio.open_tcp_stream(self.settings.host, self.port)
        async with stream:
            await stream.send_all(b"GET /health HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n")
            answer = await stream.receive_some(64)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise WorkerDied(f"worker {self.url} is not healthy: {answer!r}")

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone; nothing happens if it is."""
        if self.process is not None and self.is_alive:
            self.process.kill()
            await self.process.wait()

    async def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM, then SIGKILL if it takes too long."""
        if self.process is None or not self.is_alive:
            return
        self.process.terminate()
        with trio.move_on_after(timeout_s):
            await self.process.wait()
        await self.kill()


class Fleet:
    """The workers of one `open_fleet` block."""

    def __init__(self, workers: Sequence[FleetWorker]) -> None:
        self.workers = tuple(workers)

    @property
    def urls(self) -> list[str]:
        """The workers' URLs, in order."""
        return [worker.url for worker in self.workers]

    async def kill(self, index: int) -> None:
        """End a worker with SIGKILL, as a crash would."""
        await self.workers[index].kill()

    async def restart(self, index: int, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Kill a worker if it runs and start it again on its port."""
        await self.workers[index].kill()
        await self.workers[index].start(timeout_s=timeout_s)


@asynccontextmanager
async def open_fleet(
    settings: SimSettings | Sequence[SimSettings],
    count: int = 1,
    *,
    command: Sequence[str] = DEFAULT_COMMAND,
    start_timeout_s: float = START_TIMEOUT_S,
) -> AsyncIterator[Fleet]:
    """Start workers as processes and end them when the block is left, also by cancellation.

    Args:
        settings: of all workers, or one for each (then `count` does not matter). Worker i of equal
            settings gets seed + i, so that workers differ as real ones do; a port other than 0
            counts up likewise.
        count: how many workers.
        command: what starts one worker; flags are appended.
        start_timeout_s: for all workers together.
    """
    each = (
        [_numbered(settings, index) for index in range(count)]
        if isinstance(settings, SimSettings)
        else list(settings)
    )
    async with trio.open_nursery() as nursery:
        fleet = Fleet([FleetWorker(one, command, nursery) for one in each])
        try:
            with trio.fail_after(start_timeout_s):
                async with trio.open_nursery() as starting:
                    for worker in fleet.workers:
                        starting.start_soon(
                            functools.partial(worker.start, timeout_s=start_timeout_s)
                        )
            yield fleet
        finally:
            with trio.CancelScope(shield=True):
                for worker in fleet.workers:
                    await worker.kill()
            nursery.cancel_scope.cancel()


def _numbered(settings: SimSettings, index: int) -> SimSettings:
    port = settings.port + index if settings.port else 0
    return dataclasses.replace(settings, seed=settings.seed + index, port=port)
