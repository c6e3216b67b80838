"""Routes that read the token cache by text, and look after it.

A caller sees its own namespace and nothing else: a text of another tenant is as unknown as one that
nobody ever saw.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import trio
from quart import Blueprint, Response, request

from miles_router.core.cache_view import view_cache, view_namespace
from miles_router.core.headers import session_of
from miles_router.core.radix.run import UnfitRun
from miles_router.core.trajectory.reading import Missing, Reading, read_text, with_rest
from miles_router.errors import BadRequest, TrajectoryEvicted, TrajectoryNotFound
from miles_router.net.tokenizing import tokenize
from miles_router.web.caller import RequestContext, context_of
from miles_router.web.own import json_reply
from miles_router.web.readings import encode_reading, experts_of, reading_fields

if TYPE_CHECKING:
    from miles_router.net.services import Services
    from miles_router.net.token_cache import TokenCache

# Decoding or encoding more would keep the loop for too long.
IN_THREAD_BYTES = 262_144
IN_THREAD_TOKENS = 16_384


class Retrieval(msgspec.Struct, frozen=True):
    """The body of /retrieve_from_text; further keys are ignored."""

    text: str
    return_logp: bool | None = None
    session: str | None = None
    rid: str | None = None
    on_miss: Literal["error", "tokenize"] | None = None
    return_routed_experts: bool | None = None


_RETRIEVAL = msgspec.json.Decoder(Retrieval)


def make_tokens(services: Services, cache: TokenCache) -> Blueprint:
    """The routes `/retrieve_from_text`, `/cache/gc`, `/cache/stats`."""
    routes = Blueprint("tokens", __name__)

    @routes.post("/retrieve_from_text")
    async def retrieve_from_text() -> Response:
        asked = await _read_retrieval(cache, await request.get_data())
        return await _retrieve(services, cache, asked)

    @routes.post("/cache/gc")
    async def collect() -> Response:
        removed = await cache.sweep()
        view = view_cache(cache, trio.current_time())
        return json_reply({"status": "success", "removed_turns": removed, "cache": view})

    @routes.get("/cache/stats")
    async def stats() -> Response:
        caller = caller_context().caller
        own = view_namespace(cache.store, caller.tenant)
        value: dict[str, Any] = {"tenant": caller.tenant, "namespace": own}
        if caller.is_admin:
            value["cache"] = view_cache(cache, trio.current_time())
        return json_reply(value)

    return routes


def caller_context() -> RequestContext:
    """Who asks."""
    scope: dict[str, Any] = request.scope  # type: ignore[assignment]  # a plain dict for us
    return context_of(scope)


async def _read_retrieval(cache: TokenCache, data: str | bytes) -> Retrieval:
    try:
        if len(data) <= IN_THREAD_BYTES:
            asked = _RETRIEVAL.decode(data)
        else:
            asked = await cache.in_thread(partial(_RETRIEVAL.decode, data))
        asked.text.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f'the body must be a JSON object with "text": {error}') from None
    if not asked.text:
        raise BadRequest("text is empty: give the text of a trajectory")
    return asked


async def _retrieve(services: Services, cache: TokenCache, asked: Retrieval) -> Response:
    tenant = caller_context().caller.tenant
    header_session = session_of(request.scope["headers"])  # type: ignore[arg-type]  # pairs
    session = asked.session or header_session
    data = asked.text.encode()
    namespace = cache.store.namespace(tenant)
    found: Reading | Missing = Missing(0)
    if namespace is not None:
        found = read_text(namespace, cache.store.gone, data, session=session, rid=asked.rid)
    if isinstance(found, Missing):
        cache.counters.reads["missing" if found.gone is None else "evicted"] += 1
        on_miss = asked.on_miss or services.settings.retrieve_miss
        if on_miss == "error":
            raise _missing(found, data)
        reading = await _tokenized(cache, _nothing_known(found, data))
    else:
        cache.counters.reads["inexact" if found.rest else "exact"] += 1
        reading = await _tokenized(cache, found) if found.rest else found
    chars = len(data[: reading.matched_bytes].decode())
    work = partial(
        reading_fields,
        reading,
        asked.text,
        matched_chars=chars,
        with_logprobs=asked.return_logp is not False,
    )
    fields = work() if len(reading.tokens) <= IN_THREAD_TOKENS else await cache.in_thread(work)
    body = await _encoded(cache, reading, fields, with_experts=bool(asked.return_routed_experts))
    return Response(body, content_type="application/json")


def _missing(found: Missing, data: bytes) -> TrajectoryNotFound | TrajectoryEvicted:
    chars = len(data[: found.matched_bytes].decode())
    if found.gone is not None:
        return TrajectoryEvicted(
            f"this trajectory was stored and is gone ({found.gone}); see --cache-bytes, "
            "--cache-ttl-s and --keep-versions",
            matched_chars=chars,
            reason=found.gone,
        )
    return TrajectoryNotFound(
        "no trajectory of yours has this text, session and rid; "
        'with "on_miss": "tokenize" you get tokens that are marked as not exact',
        matched_chars=chars,
    )


def _nothing_known(found: Missing, data: bytes) -> Reading:
    return Reading(
        tokens=np.zeros(0, dtype=np.int32),
        loss_mask=np.zeros(0, dtype=np.uint8),
        logprobs=np.zeros(0, dtype=np.float32),
        spans=(),
        turns=(),
        candidates=0,
        matched_bytes=found.matched_bytes,
        rest=data,
    )


async def _tokenized(cache: TokenCache, reading: Reading) -> Reading:
    """`reading` with the tokens of its rest."""
    try:
        is_continuation = bool(len(reading.tokens))
        [run] = await tokenize(cache, [(reading.rest.decode(), is_continuation)])
    except UnfitRun as error:
        raise BadRequest(f"the text cannot be tokenized: {error}") from None
    return with_rest(reading, run)


async def _encoded(
    cache: TokenCache, reading: Reading, fields: dict[str, Any], *, with_experts: bool
) -> bytes:
    if not with_experts:
        work = partial(encode_reading, fields, None)
        return work() if len(reading.tokens) <= IN_THREAD_TOKENS else await cache.in_thread(work)
    rows, missing = await experts_of(cache, reading)
    if rows is None:
        fields |= {"routed_experts": None, "routed_experts_missing": missing}
    else:
        fields["routed_experts_shape"] = list(cache.shape.unfold(rows).shape)
    return await cache.in_thread(partial(encode_reading, fields, rows))
