"""Engine control: paths that change engines go to all workers, or to the one that is named.

One arbitrary worker out of many would leave the pool inconsistent, so these are never relayed. The
answer says for every worker what it said; with `?worker=ID` it is that worker's own answer. Reads
whose clients expect the answer of one worker get it from the first that is healthy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from miles_router.core.headers import WORKER_HEADER, first
from miles_router.core.request import ONE_WORKER_PATHS
from miles_router.errors import NoWorker, WorkerFault
from miles_router.net.body import RequestBody
from miles_router.net.call import Call, call_worker
from miles_router.net.fanout import fan_out
from miles_router.web.caller import context_of, on_behalf
from miles_router.web.replies import send_json
from miles_router.web.results import fan_out_status, result_of

if TYPE_CHECKING:
    from miles_router.core.worker import Worker
    from miles_router.net.services import Services
    from miles_router.web.replies import Receive, Scope, Send

# Weight updates of large models take many minutes; the caller's own patience is the bound.
CONTROL_TIMEOUT_S = 3600.0


class Control:
    """The ASGI app behind control paths."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one control request."""
        context = context_of(scope)
        body = await _read_all(self._services, scope, receive)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        name = next((value for key, value in query if key == "worker"), None)
        rest = urlencode([(key, value) for key, value in query if key != "worker"])
        content_type = first(scope["headers"], b"content-type") or b"application/json"
        path = quote(context.path, safe="/")
        call = Call(
            method=scope["method"],
            target=f"{path}?{rest}" if rest else path,
            body=body if body or scope["method"] in {"POST", "PUT", "PATCH"} else None,
            content_type=content_type.decode("latin-1"),
        )
        call = on_behalf(scope, call)
        self._services.log.info(
            "engine_control", path=context.path, worker=name, request_id=context.request_id
        )
        if name is not None:
            await self._ask_one(self._services.pool.find(name), call, send)
        elif context.path in ONE_WORKER_PATHS:
            await self._ask_any(call, send)
        else:
            await self._ask_all(call, send)

    async def _ask_all(self, call: Call, send: Send) -> None:
        services = self._services
        if not services.pool.listed:
            raise NoWorker("no worker is registered", retry_after_s=5.0, states={})
        results = await fan_out(
            services.dialer,
            [(worker, call) for worker in services.pool.listed],
            timeout_s=CONTROL_TIMEOUT_S,
        )
        succeeded = sum(result.is_success for result in results)
        value = {
            "success": succeeded == len(results),
            "succeeded": succeeded,
            "failed": len(results) - succeeded,
            "results": [result_of(result) for result in results],
        }
        await send_json(send, fan_out_status(results), value)

    async def _ask_any(self, call: Call, send: Send) -> None:
        """The answer of the first healthy worker, by order of registration, that gives one."""
        pool = self._services.pool
        healthy = [worker for worker in pool.listed if worker.is_routable]
        if not healthy:
            raise NoWorker("no worker is healthy", retry_after_s=5.0, states=pool.states())
        for worker in healthy[:-1]:
            try:
                return await self._ask_one(worker, call, send)
            except WorkerFault as fault:
                self._services.log.info("control_retry", worker=worker.url, why=str(fault))
        return await self._ask_one(healthy[-1], call, send)

    async def _ask_one(self, worker: Worker, call: Call, send: Send) -> None:
        services = self._services
        reply = await call_worker(services.dialer, worker, call, timeout_s=CONTROL_TIMEOUT_S)
        headers = [
            (b"content-length", b"%d" % len(reply.body)),
            (WORKER_HEADER, worker.id.encode("ascii")),
        ]
        if reply.content_type:
            headers.append((b"content-type", reply.content_type.encode("latin-1")))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body, "more_body": False})


async def _read_all(services: Services, scope: Scope, receive: Receive) -> bytes:
    """The whole body: control requests are small, except weights sent as tensors."""
    body = RequestBody(receive, scope["headers"], max_bytes=services.settings.max_body_bytes)
    await body.read_ahead()
    pieces = [body.prefix]
    while (piece := await body.next_piece()) is not None:
        pieces.append(piece)
    return b"".join(pieces)
