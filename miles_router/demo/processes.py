"""The router and the workers as child processes of the demonstration.

They stay in its process group, so that Ctrl-C and a kill of the group reach all of them. Each
writes to a log file of its own. Invariant: when the block of `open_children` is left, by whatever
way, none of them is alive.
"""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

HOST = "127.0.0.1"
_STOP_TIMEOUT_S = 3.0
_POLL_S = 0.05
_TAIL_LINES = 12


class ChildDied(Exception):
    """A process ended that should run, or does not answer; the message has its last words."""


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, all different."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind((HOST, 0))
            ports.append(int(listener.getsockname()[1]))
        return ports


def child_environment() -> dict[str, str]:
    """The environment without settings of another router."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("MILES_ROUTER_")
    }
    return {**kept, "PYTHONUNBUFFERED": "1"}


class Child:
    """One process that answers HTTP on a port; made by `Children.add`."""

    def __init__(self, name: str, command: Sequence[str], port: int, log_path: Path) -> None:
        self.name = name
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.log_path = log_path
        self._command = tuple(command)
        self._process: trio.Process | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start the process; `wait_ready` tells when it answers."""
        if self.is_alive:
            raise RuntimeError(f"{self.name} runs already; kill it first.")
        with self.log_path.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=child_environment(),
            )

    async def wait_ready(self, path: str, *, timeout_s: float) -> None:
        """Return when GET `path` is answered 200.

        Raises:
            ChildDied: the process ended, or `timeout_s` have passed.
        """
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            with trio.move_on_after(timeout_s):
                while self.is_alive:
                    try:
                        answer = await client.get(path)
                    except httpx.TransportError:
                        pass
                    else:
                        if answer.status_code == 200:
                            return
                    await trio.sleep(_POLL_S)
        happened = f"is not ready after {timeout_s:g} s" if self.is_alive else self.ending()
        raise ChildDied(f"{self.name} {happened}\n{self.last_lines()}".rstrip())

    def ending(self) -> str:
        """How it ended, for people."""
        code = None if self._process is None else self._process.returncode
        return f"ended with code {code}"

    def last_lines(self) -> str:
        """The end of its log."""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {self.name}: {line}" for line in lines[-_TAIL_LINES:])

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None and self.is_alive:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL if it takes too long."""
        if self._process is not None and self.is_alive:
            self._process.terminate()
            with trio.move_on_after(_STOP_TIMEOUT_S):
                await self._process.wait()
            await self.kill()


class Children:
    """All processes of one demonstration."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._all: list[Child] = []

    def add(self, name: str, command: Sequence[str], port: int) -> Child:
        """A process to be started; it is ended with the others."""
        child = Child(name, command, port, self._log_dir / f"{name.replace(' ', '-')}.log")
        self._all.append(child)
        return child

    def dead(self) -> list[Child]:
        """Those that do not run."""
        return [child for child in self._all if not child.is_alive]

    async def stop(self) -> None:
        """End all of them at once."""
        async with trio.open_nursery() as nursery:
            for child in self._all:
                nursery.start_soon(child.stop)


@asynccontextmanager
async def open_children(log_dir: Path) -> AsyncIterator[Children]:
    """Processes that end when the block is left, also by cancellation."""
    children = Children(log_dir)
    try:
        yield children
    finally:
        with trio.CancelScope(shield=True):
            await children.stop()
