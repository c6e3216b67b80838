"""What happens to the workers while the rollout runs, each at a share of it that is over.

One worker is drained while it generates and serves again; then another one is killed and comes back
on its port. One after the other, so that the others can always do the work. At last all of them get
other weights, in the middle of what they generate; last, because a worker that comes back has the
weights that it began with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from miles_router.core.counted import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.demo.processes import Child
    from miles_router.demo.steering import Steering
    from miles_router.demo.tally import Tally

DRAIN_AT = 0.12
KILL_AT = 0.4
UPDATE_AT = 0.7
_BUSY_WITHIN_S = 3.0
_NOTICED_WITHIN_S = 15.0
_BACK_WITHIN_S = 20.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Incidents:
    """The schedule; `say` gets one sentence for each thing that happened."""

    steering: Steering
    tally: Tally
    say: Callable[[str], None]
    ready_path: str
    ready_timeout_s: float

    async def run(self, *, drain: Child, kill: Child | None, update_to: str | None = None) -> None:
        """Drain one worker and bring it back; kill one, if given, and bring it back; update all.

        Raises:
            Stuck: a worker did not get where it must.
            ChildDied: the killed worker does not start again.
        """
        await self.tally.wait_share(DRAIN_AT)
        await self.drain_and_return(drain)
        if kill is not None:
            await self.tally.wait_share(KILL_AT)
            await self.kill_and_return(kill)
        if update_to is not None:
            await self.tally.wait_share(UPDATE_AT)
            await self.update(update_to)

    async def update(self, version: str) -> None:
        """Give all workers other weights while they generate."""
        await self.steering.update_weight_version(version)
        self.tally.updated_at = trio.current_time()
        inflight = sum(worker.inflight for worker in await self.steering.workers())
        held = counted(inflight, "request")
        self.say(f"all workers have the weights {version}, in the middle of {held}")

    async def kill_and_return(self, worker: Child) -> None:
        """End a busy worker as a crash would, and start it again once it is quarantined."""
        held = await self._held_when_busy(worker)
        self.tally.killed.add((await self.steering.worker(worker.url)).id)
        await worker.kill()
        self.say(f"{worker.name} killed while it held {counted(held, 'request')}")
        out_s = await self.steering.wait_for(
            worker.url, ("quarantined",), timeout_s=_NOTICED_WITHIN_S
        )
        self.say(f"{worker.name} quarantined after {out_s:.2f} s; starting it again on its port")
        await worker.start()
        await worker.wait_ready(self.ready_path, timeout_s=self.ready_timeout_s)
        back_s = await self.steering.wait_for(worker.url, ("active",), timeout_s=_BACK_WITHIN_S)
        self.say(f"{worker.name} active again {back_s:.2f} s after it answered")

    async def drain_and_return(self, worker: Child) -> None:
        """Give a busy worker nothing new, let it finish, and let it serve again."""
        held = await self._held_when_busy(worker)
        await self.steering.drain(worker.url)
        self.say(f"{worker.name} draining, it holds {counted(held, 'request')}")
        drained_s = await self.steering.wait_for(
            worker.url, ("drained",), timeout_s=self.ready_timeout_s
        )
        self.say(f"{worker.name} drained after {drained_s:.2f} s")
        await self.steering.undrain(worker.url)
        back_s = await self.steering.wait_for(worker.url, ("active",), timeout_s=_BACK_WITHIN_S)
        self.say(f"{worker.name} active again {back_s:.2f} s after it was undrained")

    async def _held_when_busy(self, worker: Child) -> int:
        """Requests that the worker holds, as soon as it holds any; 0 if it stays idle."""
        with trio.move_on_after(_BUSY_WITHIN_S):
            while self.tally.share < 1:
                held = (await self.steering.worker(worker.url)).inflight
                if held:
                    return held
                await trio.sleep(_POLL_S)
        return 0
