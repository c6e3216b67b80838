"""Routes about requests and sessions: abort what runs, forget a session, flush caches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response, request

from miles_router.core.abort_plan import plan_abort, plan_abort_all, plan_abort_exactly
from miles_router.errors import BadRequest, Conflict, NotFound, RequestAborted
from miles_router.net.abort import ABORT_TIMEOUT_S, abort_all_call, abort_call
from miles_router.net.call import Call
from miles_router.net.fanout import WorkerReply, fan_out
from miles_router.web.caller import RequestContext, context_of, on_behalf
from miles_router.web.compat import read_object
from miles_router.web.own import json_reply
from miles_router.web.results import fan_out_status, result_of

if TYPE_CHECKING:
    from miles_router.core.abort_plan import AbortPlan
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
        return await _abort(services, _context(), await read_object())

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
        return _fan_out_reply(await _fan_out(services, calls, timeout_s=limit_s))

    return routes


def _context() -> RequestContext:
    scope: dict[str, Any] = request.scope  # type: ignore[assignment]  # a plain dict for us
    return context_of(scope)


def _tenant(context: RequestContext) -> str | None:
    """Whose requests the caller may stop; None for everyone's."""
    return None if context.caller.is_admin else context.caller.tenant


async def _abort(services: Services, context: RequestContext, body: dict[str, object]) -> Response:
    """Abort what `body` names, in one of three ways."""
    if "request_id" in body:
        return await _abort_one(services, context, body)
    rid, abort_all = body.get("rid"), body.get("abort_all")
    if rid is not None and not isinstance(rid, str):
        raise BadRequest("rid must be a string")
    if abort_all is True:
        return await _abort_all(services, context)
    if not rid:
        raise BadRequest(
            'name what to abort: {"rid": "..."}, {"request_id": "..."} or {"abort_all": true}'
        )
    return await _abort_rid(services, context, rid)


async def _abort_rid(services: Services, context: RequestContext, rid: str) -> Response:
    """Abort what `rid` names, where it runs; what no worker has ends in the router.

    The worker is told the full ids it knows: SGLang 0.5.23 takes a rid only if exactly that one is
    live, and then aborts every id that begins with it. A rid the router has not seen (it stands
    behind the first 4 MiB of its request, or went around the router) is passed to all workers by
    callers who may abort everything.
    """
    tenant = _tenant(context)
    named = services.inflight.named(rid, tenant)
    plan = plan_abort(services.inflight, named, rid=rid, tenant=tenant)
    calls = [(worker, abort_call(known)) for worker, known in plan.calls]
    if not named and context.caller.is_admin:
        calls = [(worker, abort_call(rid)) for worker in services.pool.listed]
    return await _carry_out(services, plan, calls, matched=len(named))


async def _abort_one(
    services: Services, context: RequestContext, body: dict[str, object]
) -> Response:
    """Abort exactly the request that has the router's own id, also one that does not generate.

    Raises:
        NotFound: the caller has none with this id.
        Conflict: there is nothing to end yet, or it is being ended.
    """
    request_id = body["request_id"]
    if not isinstance(request_id, str) or len(body) > 1:
        raise BadRequest("request_id must be a string, and stands alone")
    named = services.inflight.with_id(request_id, _tenant(context))
    if not named:
        raise NotFound(f"no request {request_id!r} runs; GET /snapshot lists them")
    plan = plan_abort_exactly(services.inflight, named)
    if not (plan.unsent or plan.closed or plan.calls):
        raise Conflict(f"request {request_id!r} is still arriving, or is being ended already")
    calls = [(worker, abort_call(known)) for worker, known in plan.calls]
    return await _carry_out(services, plan, calls, matched=len(named))


async def _abort_all(services: Services, context: RequestContext) -> Response:
    """Abort everything; a tenant among several aborts what is its own."""
    tenant = _tenant(context)
    named = services.inflight.of_tenant(tenant)
    if tenant is None:
        plan = plan_abort_all(named)
        calls = [(worker, abort_all_call()) for worker in services.pool.workers.values()]
    else:
        plan = plan_abort(services.inflight, named, rid="", tenant=tenant)
        calls = [(worker, abort_call(known)) for worker, known in plan.calls]
    return await _carry_out(services, plan, calls, matched=len(named), without_rid=plan.without_rid)


async def _carry_out(
    services: Services, plan: AbortPlan, calls: list[tuple[Worker, Call]], **counts: int
) -> Response:
    """End what the router ends, tell the workers the rest, and say what became of it."""
    for one in plan.unsent:
        one.stop(RequestAborted("aborted by /abort_request before a worker had it"))
    for one in plan.closed:
        one.is_stopped = True
        one.stop(RequestAborted("aborted by /abort_request"))
    results = await _fan_out(services, calls, timeout_s=ABORT_TIMEOUT_S)
    services.metrics.aborts_sent += len(results)
    queued = len(plan.unsent)
    return _fan_out_reply(results, **counts, queued_aborted=queued, closed=len(plan.closed))


async def _fan_out(
    services: Services, calls: list[tuple[Worker, Call]], *, timeout_s: float
) -> list[WorkerReply]:
    """Make the calls on behalf of the present request."""
    scope: dict[str, Any] = request.scope  # type: ignore[assignment]  # a plain dict for us
    caused = [(worker, on_behalf(scope, call)) for worker, call in calls]
    return await fan_out(services.dialer, caused, timeout_s=timeout_s)


def _fan_out_reply(results: list[WorkerReply], **counts: int) -> Response:
    value = {
        "success": all(result.is_success for result in results),
        "results": [result_of(result) for result in results],
        **counts,
    }
    return json_reply(value, fan_out_status(results))
