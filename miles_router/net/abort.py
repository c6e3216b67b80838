"""Tell a worker to stop generating for a request id.

Closing the connection alone is not enough to be prompt: SGLang notices a lost client of an
unstreamed request only at its next poll, up to 4 s later.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec
import trio

from miles_router.errors import CannotDial, WorkerFault
from miles_router.net.call import Call, call_worker
from miles_router.net.fanout import CALLS_PER_WORKER

if TYPE_CHECKING:
    from miles_router.core.inflight import RidIndex, Running
    from miles_router.core.worker import Worker
    from miles_router.net.services import Services

ABORT_TIMEOUT_S = 5.0
# A batch has an id per prompt, and a look at what else runs takes a millisecond where thousands do:
# one look serves all ids of this time. What begins later than that has its abort withheld.
LOOK_AGAIN_S = 0.01


def abort_call(rid: str) -> Call:
    """The call that aborts every request whose id begins with `rid`."""
    return Call("POST", "/abort_request", msgspec.json.encode({"rid": rid, "abort_all": False}))


def abort_all_call() -> Call:
    """The call that aborts every request of a worker."""
    return Call("POST", "/abort_request", msgspec.json.encode({"rid": "", "abort_all": True}))


async def abort_abandoned(
    services: Services, worker: Worker, rids: tuple[str, ...], abandoned: Running
) -> None:
    """Abort `rids` on `worker`, which may be gone: that is no news, and nothing waits for it.

    A worker ends every request whose id begins with the given one. Where that would end one that
    nobody abandoned, the closed connection alone must do: the worker notices it a little later.
    Never raises: it runs beside everything else, where an error would end the router.
    """
    # A batch has an id per prompt: one after another, 200 of them at 20 ms each would take 4 s.
    pending = deque(rids)
    others = _Others(services, worker, abandoned)
    async with trio.open_nursery() as nursery:
        for _ in range(min(CALLS_PER_WORKER, len(rids))):
            nursery.start_soon(
                _abort_in_turn, services, worker, pending, others, nursery.cancel_scope
            )
    if pending:
        services.log.warning("aborts_not_sent", worker=worker.url, count=len(pending))


class _Others:
    """What runs on a worker beside an abandoned request."""

    def __init__(self, services: Services, worker: Worker, abandoned: Running) -> None:
        self._table = services.inflight
        self._worker = worker
        self._abandoned = abandoned
        self._rids: RidIndex
        self._fresh_until = float("-inf")

    def would_end(self, rid: str) -> bool:
        """Whether an abort of `rid` would end any of it."""
        now = trio.current_time()
        if now >= self._fresh_until:
            self._rids = self._table.others_on(self._worker, besides=(self._abandoned,))
            self._fresh_until = now + LOOK_AGAIN_S
        return self._rids.has_any(rid)


async def _abort_in_turn(
    services: Services,
    worker: Worker,
    pending: deque[str],
    others: _Others,
    everything: trio.CancelScope,
) -> None:
    """Abort one id after another until none is pending; a worker that fails ends everything."""
    try:
        while pending:
            rid = pending.popleft()
            if others.would_end(rid):
                services.log.debug("abort_withheld", worker=worker.url)
                continue
            try:
                await call_worker(
                    services.dialer, worker, abort_call(rid), timeout_s=ABORT_TIMEOUT_S
                )
            except CannotDial as error:
                pending.append(rid)  # for those that have a connection
                services.log.debug("abort_postponed", worker=worker.url, why=error.message)
                return
            services.metrics.aborts_sent += 1
    except WorkerFault as fault:
        services.log.debug("abort_unanswered", worker=worker.url, why=fault.message)
        pending.clear()
        everything.cancel()
    except Exception:
        services.log.exception("abort_failed", worker=worker.url)
