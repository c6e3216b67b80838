"""Tell a worker to stop generating for a request id.

Closing the connection alone is not enough to be prompt: SGLang notices a lost client of an
unstreamed request only at its next poll, up to 4 s later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from miles_router.errors import WorkerFault
from miles_router.net.call import Call, call_worker

if TYPE_CHECKING:
    from miles_router.core.inflight import Running
    from miles_router.core.worker import Worker
    from miles_router.net.services import Services

ABORT_TIMEOUT_S = 5.0


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
    """
    for rid in rids:
        if services.inflight.shares_prefix(rid, worker, besides=(abandoned,)):
            services.log.debug("abort_withheld", worker=worker.url)
            continue
        try:
            await call_worker(services.dialer, worker, abort_call(rid), timeout_s=ABORT_TIMEOUT_S)
        except WorkerFault as fault:
            services.log.debug("abort_unanswered", worker=worker.url, why=fault.message)
            return
        services.metrics.aborts_sent += 1
