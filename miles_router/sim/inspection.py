"""Routes for tests under /sim/: faults, the log of generations, counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.sim.faults import EXIT, FaultSyntaxError, parse_fault
from miles_router.sim.http import Reply
from miles_router.sim.refusals import malformed
from miles_router.sim.route import Route, get, read_object

if TYPE_CHECKING:
    from miles_router.sim.http import Request
    from miles_router.sim.worker import Worker


async def _fault(worker: Worker, request: Request) -> Reply:
    if request.method == "DELETE":
        worker.faults.clear()
    elif request.method == "POST":
        given = (await read_object(worker, request)).get("fault")
        listed = given if isinstance(given, list) else [given]
        texts = [one for one in listed if isinstance(one, str)]
        if len(texts) != len(listed):
            raise malformed('send {"fault": "KIND[:key=value,...]"} or a list of such texts.')
        try:
            faults = [parse_fault(one) for one in texts]
        except FaultSyntaxError as error:
            raise malformed(str(error)) from None
        if worker.exit_process is None and any(one.kind == EXIT for one in faults):
            raise malformed("exit is only for a worker that is a process of its own.")
        for one in texts:
            worker.add_fault(one)
    return Reply.json({"faults": worker.faults.listed()})


async def _log(worker: Worker, request: Request) -> Reply:
    since = request.query.get("since", "0")
    if not since.isdigit():
        raise malformed("since is the number of the first entry wanted.")
    log = worker.engine.log
    return Reply.json({"total": log.total, "entries": log.since(int(since))})


async def _stats(worker: Worker, _request: Request) -> Reply:
    engine = worker.engine
    return Reply.json(
        {
            "running": len(engine.running),
            "queued": len(engine.queue),
            "held": len(engine.live) - len(engine.running) - len(engine.queue),
            "total": engine.total,
            "finished": engine.log.total,
            "aborted": engine.aborted,
            "client_gone": engine.client_gone,
            "generated_tokens": engine.generated_tokens,
            "weight_version": engine.weight_version,
            "is_paused": engine.is_paused,
            **worker.stats.shown(),
        }
    )


ROUTES: dict[str, Route] = {
    "/sim/fault": Route(frozenset({"GET", "POST", "DELETE"}), _fault),
    "/sim/log": get(_log),
    "/sim/stats": get(_stats),
}
