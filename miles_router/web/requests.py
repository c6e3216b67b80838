"""Routes about requests and sessions: abort what runs, forget a session, flush caches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response, request

from miles_router.errors import BadRequest, RequestAborted
from miles_router.net.abort import ABORT_TIMEOUT_S, abort_all_call, abort_call
from miles_router.net.call import Call
from miles_router.net.fanout import WorkerReply, fan_out
from miles_router.web.caller import RequestContext, context_of
from miles_router.web.compat import read_object
from miles_router.web.own import json_reply
from miles_router.web.results import fan_out_status, result_of

if TYPE_CHECKING:
    from miles_router.core.inflight import Running
    from miles_router.core.worker import Worker
    from miles_router.net.services import Services

# SGLang waits for running requests when it is asked to (?timeout=); otherwise it answers at once.
FLUSH_TIMEOUT_S = 60.0
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{0,6})?", re.ASCII)


def make_requests(services: Services) -> Blueprint:
    """The routes `/abort_request`, `/finish_session`, `/flush_cache`."""
    routes = Blueprint("requests", __name__)

    @routes.post("/abort_request")
    async def abort_request() -> Response:
        body = await read_object()
        rid, abort_all = body.get("rid"), body.get("abort_all")
        if rid is not None and not isinstance(rid, str):
            raise BadRequest("rid must be a string")
        context = _context()
        if abort_all is True:
            return await _abort_all(services, context)
        if not rid:
            raise BadRequest('name what to abort: {"rid": "..."} or {"abort_all": true}')
        return await _abort_rid(services, context, rid)

    @routes.post("/finish_session")
    async def finish_session() -> Response:
        session = request.args.get("session_id") or (await read_object()).get("session_id")
        if not isinstance(session, str) or not session:
            raise BadRequest("name the session: ?session_id=...")
        was_known = services.affinity.forget((_context().caller.tenant, session))
        return json_reply({"status": "success", "session_id": session, "was_known": was_known})

    @routes.route("/flush_cache", methods=["GET", "POST"])
    async def flush_cache() -> Response:
        timeout = request.args.get("timeout")
        target = "/flush_cache"
        if timeout is not None:
            if not _SECONDS.fullmatch(timeout):
                raise BadRequest("timeout must be a number of seconds")
            target += f"?timeout={timeout}"
        calls = [(worker, Call("POST", target, b"")) for worker in services.pool.listed]
        limit_s = FLUSH_TIMEOUT_S + float(timeout or 0)
        return _fan_out_reply(await fan_out(services.dialer, calls, timeout_s=limit_s))

    return routes


def _context() -> RequestContext:
    scope: dict[str, Any] = request.scope  # type: ignore[assignment]  # a plain dict for us
    return context_of(scope)


def _tenant(context: RequestContext) -> str | None:
    """Whose requests the caller may stop; None for everyone's."""
    return None if context.caller.is_admin else context.caller.tenant


async def _abort_rid(services: Services, context: RequestContext, rid: str) -> Response:
    """Abort what `rid` names, where it runs; what waits in the router's own queue ends there.

    The worker is told the full ids it knows: SGLang 0.5.23 takes a rid only if exactly that one is
    live, and then aborts every id that begins with it. A rid the router has not seen (its request
    was too large to look into, or went around the router) is passed to all workers by callers who
    may abort everything.
    """
    tenant = _tenant(context)
    named = services.inflight.named(rid, tenant)
    queued = _stop_unsent(named) + _stop_entangled(services, named, tenant)
    calls = {
        (running.worker, own): None
        for running in named
        if running.worker is not None and running.is_sent and not running.is_stopped
        for own in running.rids
        if own.startswith(rid)
    }
    if not named and context.caller.is_admin:
        calls = {(worker, rid): None for worker in services.pool.listed}
    results = await fan_out(
        services.dialer,
        [(worker, abort_call(own)) for worker, own in calls],
        timeout_s=ABORT_TIMEOUT_S,
    )
    services.metrics.aborts_sent += len(results)
    return _fan_out_reply(results, matched=len(named), queued_aborted=queued)


async def _abort_all(services: Services, context: RequestContext) -> Response:
    """Abort everything; a tenant among several aborts what is its own."""
    tenant = _tenant(context)
    running = services.inflight.of_tenant(tenant)
    queued = _stop_unsent(running) + _stop_entangled(services, running, tenant)
    calls: list[tuple[Worker, Call]]
    if tenant is None:
        calls = [(worker, abort_all_call()) for worker in services.pool.workers.values()]
    else:
        calls = [
            (one.worker, abort_call(rid))
            for one in running
            if one.worker is not None and one.is_sent and not one.is_stopped
            for rid in one.rids
        ]
    results = await fan_out(services.dialer, calls, timeout_s=ABORT_TIMEOUT_S)
    services.metrics.aborts_sent += len(results)
    unnamed = 0 if tenant is None else sum(not one.rids for one in running if one.worker)
    return _fan_out_reply(results, matched=len(running), queued_aborted=queued, without_rid=unnamed)


def _stop_unsent(running: list[Running]) -> int:
    """End those that no worker has yet; returns how many.

    An abort sent to a worker ahead of the request that it names would be lost.
    """
    unsent = [one for one in running if one.is_stoppable]
    for one in unsent:
        one.stop(RequestAborted("aborted by /abort_request before a worker had it"))
    return len(unsent)


def _stop_entangled(services: Services, running: list[Running], tenant: str | None) -> int:
    """End here those whose abort on their worker would also end another tenant's requests."""
    if tenant is None:
        return 0
    own = services.inflight.of_tenant(tenant)
    entangled = [
        one
        for one in running
        if one.worker is not None
        and one.is_sent
        and any(services.inflight.shares_prefix(rid, one.worker, besides=own) for rid in one.rids)
    ]
    for one in entangled:
        one.is_stopped = True
        one.stop(RequestAborted("aborted by /abort_request"))
    return len(entangled)


def _fan_out_reply(results: list[WorkerReply], **counts: int) -> Response:
    value = {
        "success": all(result.is_success for result in results),
        "results": [result_of(result) for result in results],
        **counts,
    }
    return json_reply(value, fan_out_status(results))
