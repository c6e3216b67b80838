"""A worker inside this process, for tests and the demo: same loop, real port."""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from miles_router.sim.server import KEEP_ALIVE_S, open_listener, serve_worker
from miles_router.sim.settings import SimSettings
from miles_router.sim.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class RunningSim:
    """A worker that listens."""

    url: str
    worker: Worker

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])


@asynccontextmanager
async def running_sim(
    settings: SimSettings | None = None, *, keep_alive_s: float = KEEP_ALIVE_S
) -> AsyncIterator[RunningSim]:
    """Run a worker for the length of the block; leaving it closes every connection."""
    worker = Worker(settings or SimSettings())
    listener = await open_listener(worker.settings.host, worker.settings.port)
    async with trio.open_nursery() as nursery:
        url = await nursery.start(
            functools.partial(serve_worker, worker, listener, keep_alive_s=keep_alive_s)
        )
        yield RunningSim(url, worker)
        nursery.cancel_scope.cancel()
