"""Routes to look at the router: health, snapshot, events, metrics of itself and of its workers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from quart import Blueprint, Response, request

from miles_router import __version__
from miles_router.core.events import MAX_KEPT
from miles_router.core.lifecycle import State
from miles_router.core.snapshot_taking import SHOWN_EVENTS, take_snapshot
from miles_router.errors import BadRequest
from miles_router.net.call import Call
from miles_router.net.fanout import fan_out
from miles_router.web.caller import on_behalf
from miles_router.web.engine_metrics import merge_metrics
from miles_router.web.openapi import document
from miles_router.web.own import json_reply
from miles_router.web.prometheus import CONTENT_TYPE, Exporter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from miles_router.core.events import Event
    from miles_router.net.services import Services

ENGINE_METRICS_TIMEOUT_S = 10.0
# A comment that keeps proxies and clients from taking a quiet stream for a dead one.
HEARTBEAT_S = 15.0
# A reader that is this far behind loses events; it sees the gap in `seq`.
EVENT_BUFFER = 1000
_SEQ = re.compile(r"[0-9]{1,18}")
_WORKER_ID = re.compile(r"w[0-9a-f]{12}")


def make_observe(services: Services) -> Blueprint:
    """The routes `/livez` to `/openapi.json`."""
    routes = Blueprint("observe", __name__)
    _add_health(routes, services)
    _add_state(routes, services)
    exporter = Exporter(services)

    @routes.get("/metrics")
    async def metrics() -> Response:
        return Response(exporter.render(), content_type=CONTENT_TYPE)

    @routes.get("/events")
    async def events() -> Response:
        given = request.args.get("since") or request.headers.get("Last-Event-ID") or "0"
        since = _seq(given, "an event")
        if request.method == "HEAD":  # a stream without an end would keep its connection
            reply = Response(b"", content_type="text/event-stream")
            del reply.headers["Content-Length"]
        else:
            stream = _stream_events(services, since)
            reply = Response(stream, content_type="text/event-stream")
        reply.headers["Cache-Control"] = "no-cache"
        return reply

    @routes.get("/get_loads")
    async def get_loads() -> Response:
        loads = [{"worker": w.url, "load": w.inflight} for w in services.pool.listed]
        return json_reply({"workers": loads})

    @routes.get("/engine_metrics")
    async def engine_metrics() -> Response:
        scope: dict[str, Any] = request.scope  # type: ignore[assignment]  # a plain dict for us
        call = on_behalf(scope, Call("GET", "/metrics"))
        calls = [(worker, call) for worker in services.pool.listed]
        results = await fan_out(services.dialer, calls, timeout_s=ENGINE_METRICS_TIMEOUT_S)
        pages = [
            (result.worker.url, result.reply.body.decode("utf-8", "replace"))
            for result in results
            if result.reply is not None and result.is_success
        ]
        return Response(merge_metrics(pages), content_type=CONTENT_TYPE)

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        return json_reply(document())

    return routes


def _add_state(routes: Blueprint, services: Services) -> None:
    @routes.get("/snapshot")
    async def snapshot() -> Response:
        taken = take_snapshot(
            services,
            version=__version__,
            now=trio.current_time(),
            event_count=_event_count(request.args.get("events")),
            focus=_focus(request.args.get("focus")),
        )
        return json_reply(taken)

    @routes.get("/log")
    async def log() -> Response:
        ring = services.log_ring
        lines = ring.since(_seq(request.args.get("since") or "0", "a line"))
        return json_reply({"boot_id": services.boot_id, "last_seq": ring.last_seq, "lines": lines})


def _seq(given: str, of_what: str) -> int:
    if not _SEQ.fullmatch(given):
        raise BadRequest(f"since must be the seq of {of_what}")
    return int(given)


def _event_count(given: str | None) -> int:
    if given is None:
        return SHOWN_EVENTS
    if not _SEQ.fullmatch(given) or int(given) > MAX_KEPT:
        raise BadRequest(f"events must be a number, 0 to {MAX_KEPT}")
    return int(given)


def _focus(given: str | None) -> str | None:
    """The worker that is looked at; one that is gone by now has no requests."""
    if given is not None and not _WORKER_ID.fullmatch(given):
        raise BadRequest("focus must be the id of a worker")
    return given


def _add_health(routes: Blueprint, services: Services) -> None:
    pool = services.pool

    def healthy() -> int:
        return pool.count(State.ACTIVE, State.SUSPECT)

    @routes.get("/livez")
    async def livez() -> Response:
        return json_reply({"status": "ok"})

    @routes.get("/readyz")
    async def readyz() -> Response:
        if services.is_stopping:
            return json_reply({"status": "stopping"}, 503)
        is_ready = healthy() > 0
        status = "ok" if is_ready else "no healthy worker"
        return json_reply({"status": status}, 200 if is_ready else 503)

    @routes.get("/health")
    async def health() -> Response:
        count = healthy()
        value = {
            "status": "ok" if count else "no healthy worker",
            "healthy_workers": count,
            "total_workers": len(pool.listed),
        }
        return json_reply(value, 200 if count else 503)


async def _stream_events(services: Services, since: int) -> AsyncIterator[bytes]:
    """The kept events after `since`, then each new one as it happens, as server-sent events."""
    send, receive = trio.open_memory_channel[bytes](EVENT_BUFFER)

    def pass_on(event: Event) -> None:
        try:
            send.send_nowait(_encode_event(event))
        except trio.WouldBlock:
            return

    unsubscribe = services.events.subscribe(pass_on)
    try:
        for event in services.events.since(since):
            yield _encode_event(event)
        while True:
            chunk = b": still here\n\n"
            with trio.move_on_after(HEARTBEAT_S):
                chunk = await receive.receive()
            yield chunk
    finally:
        unsubscribe()


def _encode_event(event: Event) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (
        event.seq,
        event.kind.encode(),
        msgspec.json.encode(event),
    )
