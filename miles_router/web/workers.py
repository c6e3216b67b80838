"""Worker pool routes under REST names, as gateway clients use them, and operators' commands."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import trio
from quart import Blueprint, Response, request

from miles_router.core.lifecycle import State
from miles_router.core.snapshot_taking import view_worker, view_workers
from miles_router.core.worker import ProbeOutcome
from miles_router.errors import BadRequest, NotAWorker, UnknownWorker, WorkerNotActive
from miles_router.web.compat import read_object
from miles_router.web.own import json_reply

if TYPE_CHECKING:
    from miles_router.core.pool import Pool
    from miles_router.core.worker import Worker
    from miles_router.net.services import Services
    from miles_router.web.registration import Registrar

# How often a waiting registration looks at its worker; probes come once a second at most.
POLL_INTERVAL_S = 0.05
MAX_WAIT_S = 3600.0
# Asking a worker that does not answer whether it is paused: two calls of 2 s at most.
PROBE_MARGIN_S = 5.0
_SCHEME = re.compile(r"^(https?):/+", re.IGNORECASE)


def make_workers(services: Services, registrar: Registrar) -> Blueprint:
    """The routes under `/workers`."""
    routes = Blueprint("workers", __name__)
    pool = services.pool

    @routes.post("/workers")
    async def add() -> Response:
        body = await read_object()
        url = body.get("url")
        if not isinstance(url, str) or not url:
            raise BadRequest('name the worker: {"url": "http://host:port"}')
        wait_s = _seconds(request.args.get("wait"), "wait", at_most=MAX_WAIT_S)
        worker = await registrar.add(url, body)
        if wait_s is not None:
            await _wait_active(worker, wait_s)
        location = f"/workers/{worker.id}"
        accepted = {
            "status": "accepted" if wait_s is None else worker.state.value,
            "worker_id": worker.id,
            "url": worker.url,
            "location": location,
        }
        return json_reply(accepted, 202 if wait_s is None else 200, {"Location": location})

    @routes.get("/workers")
    async def list_workers() -> Response:
        views = view_workers(pool, trio.current_time())
        stats = {"states": pool.states(), "regular_count": len(views)}
        stats |= {"prefill_count": 0, "decode_count": 0}
        return json_reply({"workers": views, "total": len(views), "stats": stats})

    @routes.get("/workers/<path:name>")
    async def get(name: str) -> Response:
        return _show(services, _find(pool, name))

    @routes.delete("/workers/<path:name>")
    async def remove(name: str) -> Response:
        worker = _find(pool, name)
        registrar.authorize_removal(worker)
        deadline_s = _seconds(request.args.get("deadline_s"), "deadline_s", at_most=math.inf)
        pool.remove(worker, trio.current_time(), deadline_s=deadline_s)
        return json_reply({"status": "accepted", "worker_id": worker.id, "url": worker.url}, 202)

    _add_commands(routes, services)
    return routes


def _add_commands(routes: Blueprint, services: Services) -> None:
    """What an operator tells a worker to do: it answers with the worker as it is then."""
    pool = services.pool

    @routes.post("/workers/<path:name>/probe")
    async def probe(name: str) -> Response:
        worker = _find(pool, name)
        await _probe_now(services, worker)
        return _show(services, worker)

    @routes.post("/workers/<path:name>/drain")
    async def drain(name: str) -> Response:
        worker = _find(pool, name)
        given = (await read_object()).get("deadline_s")
        deadline_s = _seconds(given, "deadline_s", at_most=math.inf)
        pool.drain(worker, trio.current_time(), deadline_s=deadline_s)
        return _show(services, worker)

    @routes.post("/workers/<path:name>/undrain")
    async def undrain(name: str) -> Response:
        worker = _find(pool, name)
        pool.undrain(worker, trio.current_time())
        return _show(services, worker)

    @routes.post("/workers/<path:name>/quarantine")
    async def quarantine(name: str) -> Response:
        worker = _find(pool, name)
        reason = (await read_object()).get("reason") or ""
        if not isinstance(reason, str):
            raise BadRequest("reason must be a string")
        pool.quarantine(worker, trio.current_time(), reason=reason[:500])
        return _show(services, worker)

    @routes.post("/workers/<path:name>/release")
    async def release(name: str) -> Response:
        worker = _find(pool, name)
        pool.release(worker, trio.current_time())
        return _show(services, worker)


def _find(pool: Pool, name: str) -> Worker:
    """The worker that a path names; the normalised path has lost a slash of a URL in it."""
    return pool.find(_SCHEME.sub(r"\1://", name, count=1))


def _show(services: Services, worker: Worker) -> Response:
    view = view_worker(
        worker,
        newest=services.pool.versions.newest,
        now=trio.current_time(),
        total_inflight=services.admission.inflight,
    )
    return json_reply(view)


def _seconds(value: object, name: str, *, at_most: float) -> float | None:
    """A number of seconds from a query or a body; None if it is not given."""
    if value is None:
        return None
    try:
        seconds = float(value)  # type: ignore[arg-type]  # what is no number is refused below
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if isinstance(value, bool) or not 0 <= seconds <= at_most or math.isinf(seconds):
        raise BadRequest(f"{name} must be a number of seconds, 0 or more")
    return seconds


async def _probe_now(services: Services, worker: Worker) -> None:
    """Return when a probe of `worker` is over: the one that runs, or else one made for this.

    Raises:
        UnknownWorker: it was removed meanwhile.
        WorkerNotActive: no probe ended in the time that a probe has.
    """
    ended = worker.probes_ended
    if not worker.is_probing:
        services.pool.probe_soon(worker)
    limit_s = services.settings.health_timeout_s + PROBE_MARGIN_S
    with trio.move_on_after(limit_s):
        while worker.probes_ended == ended and worker.state is not State.REMOVED:  # noqa: ASYNC110
            await trio.sleep(POLL_INTERVAL_S)
    if worker.state is State.REMOVED:
        raise UnknownWorker(f"{worker.url} was removed while it was being probed")
    if worker.probes_ended == ended:
        raise WorkerNotActive(
            f"no probe of {worker.url} ended within {limit_s:g} s",
            worker_id=worker.id,
            status=worker.state.value,
        )


async def _wait_active(worker: Worker, wait_s: float) -> None:
    """Return when `worker` is active. Probes from before this call say nothing about it.

    Raises:
        NotAWorker: something else answers at its URL.
        WorkerNotActive: it is not, after `wait_s`.
    """
    asked_at = trio.current_time()
    with trio.move_on_after(wait_s):
        while worker.state is not State.ACTIVE:
            report = worker.last_probe
            if (
                report is not None
                and report.outcome is ProbeOutcome.NOT_A_WORKER
                and report.started_at >= asked_at
            ):
                raise NotAWorker(report.detail, worker_id=worker.id)
            await trio.sleep(POLL_INTERVAL_S)
        return
    detail = "it has not answered a probe" if worker.last_probe is None else ""
    if worker.last_probe is not None:
        detail = f"last probe: {worker.last_probe.outcome.value} {worker.last_probe.detail}".strip()
    raise WorkerNotActive(
        f"{worker.url} is {worker.state.value} after {wait_s:g} s ({worker.reason}; {detail})",
        worker_id=worker.id,
        status=worker.state.value,
    )
