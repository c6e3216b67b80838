"""The router's own calls, made from trio: `RouterClient` in a thread, and waiting for a state."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from miles_router.client import RouterClient
from miles_router.core.counted import counted
from miles_router.demo.rollout import open_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from miles_router.client import Worker

_POLL_S = 0.05
_SHOWN_CHARS = 300
_Result = TypeVar("_Result")


class Stuck(Exception):
    """A worker did not reach the state that was expected of it."""


class Steering:
    """What an operator does to the router's workers; a worker is named by its URL."""

    def __init__(self, client: RouterClient) -> None:
        self._client = client

    async def _call(self, function: Callable[..., _Result], *args: Any) -> _Result:
        return await trio.to_thread.run_sync(partial(function, *args), abandon_on_cancel=True)

    async def workers(self) -> tuple[Worker, ...]:
        """All workers as the router sees them."""
        return (await self._call(self._client.workers)).workers

    async def worker(self, url: str) -> Worker:
        """One worker.

        Raises:
            Stuck: the router does not have it.
        """
        for worker in await self.workers():
            if worker.url == url:
                return worker
        raise Stuck(f"{url} is not a worker of the router")

    async def drain(self, url: str) -> Worker:
        """Give it nothing new."""
        return await self._call(self._client.drain, (await self.worker(url)).id)

    async def undrain(self, url: str) -> Worker:
        """Let it serve again."""
        return await self._call(self._client.undrain, (await self.worker(url)).id)

    async def update_weight_version(self, version: str) -> None:
        """Tell all workers that their weights are others, while they go on generating.

        Raises:
            Stuck: not all of them took it.
            httpx.HTTPError: the router did not answer.
        """
        body = {"new_version": version, "abort_all_requests": False}
        async with open_client(self._client.url) as client:
            reply = await client.post("/update_weight_version", json=body)
        if reply.status_code != 200:
            raise Stuck(f"/update_weight_version: {reply.status_code} {reply.text[:_SHOWN_CHARS]}")

    async def snapshot(self) -> dict[str, Any]:
        """Everything the router shows."""
        return await self._call(self._client.snapshot)

    async def wait_for(self, url: str, statuses: Collection[str], *, timeout_s: float) -> float:
        """Wait until the worker has one of `statuses`; the seconds it took.

        Raises:
            Stuck: it has none of them after `timeout_s`.
        """
        started_at = trio.current_time()
        while True:
            found = await self.worker(url)
            waited_s = trio.current_time() - started_at
            if found.status in statuses:
                return waited_s
            if waited_s > timeout_s:
                held = counted(found.inflight, "request")
                raise Stuck(
                    f"{url} is {found.status}, not {' or '.join(statuses)}, after {timeout_s:g} s "
                    f"({held} inflight, {found.reason or 'no reason given'})"
                )
            await trio.sleep(_POLL_S)


@asynccontextmanager
async def open_steering(url: str) -> AsyncIterator[Steering]:
    """Steer the router at `url`."""
    with RouterClient(url) as client:
        yield Steering(client)
