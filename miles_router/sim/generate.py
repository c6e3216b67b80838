"""POST /generate and POST /abort_request."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from miles_router.sim.http import Reply
from miles_router.sim.refusals import (
    RequestRefused,
    bad_value,
    malformed,
    scheduler_failure,
    stream_error_event,
)
from miles_router.sim.route import post, read_json, read_object

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from miles_router.sim.batch import Batch
    from miles_router.sim.generation import Generation
    from miles_router.sim.http import Request
    from miles_router.sim.worker import Worker

EVENT_STREAM = (("content-type", "text/event-stream; charset=utf-8"),)
DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def raise_if_failed(generations: Sequence[Generation]) -> None:
    """One item that ended with an error status fails the whole HTTP request.

    Raises:
        RequestRefused: 400 in SGLang's shape for values, others as an error object.
    """
    for generation in generations:
        reason = generation.finish_reason or {}
        status = reason.get("status_code")
        if reason.get("type") != "abort" or status is None:
            continue
        if status == 400:
            raise bad_value(reason["message"])
        raise scheduler_failure(status, reason["message"])


async def _generate(worker: Worker, request: Request) -> Reply:
    body = await read_json(worker, request)
    is_stream = isinstance(body, dict) and body.get("stream") is True
    try:
        batch = worker.engine.parse(body, path=request.path)
    except RequestRefused as refused:
        if is_stream and refused.in_stream:
            return Reply(200, _refused_stream(refused), EVENT_STREAM)
        raise
    if batch.stream:
        return Reply(200, _stream(worker, batch), EVENT_STREAM)
    generations = await worker.finish(batch)
    raise_if_failed(generations)
    version = worker.engine.weight_version
    found = [worker.engine.answers.whole(one, version=version) for one in generations]
    return Reply.json(found[0] if batch.is_single else found)


async def _refused_stream(refused: RequestRefused) -> AsyncGenerator[bytes, None]:
    yield event(stream_error_event(refused.message))
    yield DONE


async def _stream(worker: Worker, batch: Batch) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(worker.chunks(batch)) as chunks:
            async for index, _generation, chunk in chunks:
                yield event(chunk if batch.is_single else {**chunk, "index": index})
    except RequestRefused as refused:
        yield event(stream_error_event(refused.message))
    yield DONE


async def _abort_request(worker: Worker, request: Request) -> Reply:
    body = await read_object(worker, request)
    rid, abort_all = body.get("rid") or "", body.get("abort_all") or False
    if not isinstance(rid, str) or not isinstance(abort_all, bool):
        raise malformed("body: rid should be a string and abort_all a boolean")
    worker.stats.note_abort(body)
    worker.abort(rid, abort_all=abort_all)
    return Reply(200)


ROUTES = {
    "/generate": post(_generate, "PUT"),
    "/abort_request": post(_abort_request),
}
