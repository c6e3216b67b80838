"""Routes for whole trajectories: list them, read one, delete them.

Each caller sees and deletes what its own tenant has; the admin may name another (`?tenant=`).
"""

from __future__ import annotations

from functools import partial
from itertools import dropwhile, islice
from typing import TYPE_CHECKING, Any

import trio
from quart import Blueprint, Response, request

from miles_router.core.trajectory.reading import read_turn, text_of
from miles_router.core.trajectory.trajectory import chain_of
from miles_router.errors import BadRequest, Forbidden, TrajectoryEvicted, TrajectoryNotFound
from miles_router.web.own import json_reply
from miles_router.web.readings import (
    as_safetensors,
    encode_reading,
    experts_of,
    reading_fields,
)
from miles_router.web.tokens import caller_context

if TYPE_CHECKING:
    from miles_router.core.trajectory.namespace import Namespace
    from miles_router.core.trajectory.trajectory import Trajectory
    from miles_router.net.token_cache import TokenCache

DEFAULT_PAGE, LARGEST_PAGE = 100, 1000
SAFETENSORS = "application/octet-stream"


def make_trajectories(cache: TokenCache) -> Blueprint:
    """The routes under `/trajectories`."""
    routes = Blueprint("trajectories", __name__)

    @routes.get("/trajectories")
    async def list_trajectories() -> Response:
        namespace = cache.store.namespace(_tenant())
        listed = [] if namespace is None else _page(namespace)
        views = [_view(cache, one) for one in listed[: _limit()]]
        following = views[-1]["id"] if len(listed) > _limit() else None
        total = 0 if namespace is None else len(namespace.trajectories)
        return json_reply({"trajectories": views, "total": total, "next": following})

    @routes.get("/trajectories/<identity>")
    async def read_trajectory(identity: str) -> Response:
        trajectory = _find(cache, identity)
        wants_tensors = request.accept_mimetypes.best == SAFETENSORS
        return await (_tensors if wants_tensors else _fields)(cache, trajectory)

    @routes.delete("/trajectories")
    async def delete_all() -> Response:
        namespace = cache.store.namespace(_tenant())
        listed = [] if namespace is None else list(namespace.trajectories.values())
        return await _delete(cache, listed)

    @routes.delete("/trajectories/<identity>")
    async def delete_one(identity: str) -> Response:
        return await _delete(cache, [_find(cache, identity)])

    return routes


def _tenant() -> str:
    """Whose trajectories are meant."""
    caller = caller_context().caller
    named = request.args.get("tenant")
    if named is None or named == caller.tenant:
        return caller.tenant
    if not caller.is_admin:
        raise Forbidden("only the admin may name another tenant")
    return named


def _limit() -> int:
    text = request.args.get("limit", str(DEFAULT_PAGE))
    is_short = len(text) <= len(str(LARGEST_PAGE)) and text.isascii() and text.isdigit()
    if not (is_short and 1 <= int(text) <= LARGEST_PAGE):
        raise BadRequest(f"limit must be 1 to {LARGEST_PAGE}")
    return int(text)


def _page(namespace: Namespace) -> list[Trajectory]:
    """One more than was asked for, behind `?after=ID`; oldest first."""
    after = request.args.get("after")
    found = namespace.trajectories
    if after is None:
        return list(islice(found.values(), _limit() + 1))
    if after not in found:
        raise TrajectoryNotFound(f"after={after}: there is no such trajectory; begin without it")
    behind = islice(dropwhile(lambda identity: identity != after, found), 1, _limit() + 2)
    return [found[identity] for identity in behind]


def _view(cache: TokenCache, trajectory: Trajectory) -> dict[str, Any]:
    turns = chain_of(trajectory.tip)
    versions = [span.version for turn in turns for span in turn.versions]
    return {
        "id": trajectory.id,
        "session": trajectory.session,
        "turns": len(turns),
        "tokens": trajectory.tip.end,
        "generated_tokens": sum(turn.generated_tokens for turn in turns),
        "weight_versions": list(dict.fromkeys(versions)),
        "finish": trajectory.tip.finish,
        "created_at_unix": round(trajectory.created_at + cache.unix_offset_s, 3),
        "used_at_unix": round(trajectory.used_at + cache.unix_offset_s, 3),
    }


def _find(cache: TokenCache, identity: str) -> Trajectory:
    tenant = _tenant()
    namespace = cache.store.namespace(tenant)
    found = None if namespace is None else namespace.trajectories.get(identity)
    if found is not None:
        return found
    reason = cache.store.gone.reason(tenant, identity)
    if reason is not None:
        raise TrajectoryEvicted(f"trajectory {identity} is gone ({reason})", reason=reason)
    raise TrajectoryNotFound(f"you have no trajectory {identity}")


async def _fields(cache: TokenCache, trajectory: Trajectory) -> Response:
    reading, text = read_turn(trajectory.tip), text_of(trajectory.tip).decode()
    view = _view(cache, trajectory)
    work = partial(reading_fields, reading, text, matched_chars=len(text))
    fields = view | await cache.in_thread(work)
    rows, missing = await experts_of(cache, reading)
    if rows is None:
        fields["routed_experts_missing"] = missing
    else:
        fields["routed_experts_shape"] = list(cache.shape.unfold(rows).shape)
    body = await cache.in_thread(partial(encode_reading, fields, rows))
    return Response(body, content_type="application/json")


async def _tensors(cache: TokenCache, trajectory: Trajectory) -> Response:
    reading = read_turn(trajectory.tip)
    metadata = _view(cache, trajectory) | {
        "text": text_of(trajectory.tip).decode(),
        "spans": [
            [span.start, span.end, span.origin, span.exact, span.weight_version]
            for span in reading.spans
        ],
        "rids": list(reading.rids),
    }
    rows, missing = await experts_of(cache, reading)
    metadata["routed_experts_missing"] = missing
    body = await cache.in_thread(partial(as_safetensors, reading, rows, cache.shape, metadata))
    return Response(body, content_type=SAFETENSORS)


async def _delete(cache: TokenCache, listed: list[Trajectory]) -> Response:
    """Give them up and remove what nothing else needs, with the loop free in between."""
    for place, trajectory in enumerate(listed):
        if trajectory.id in trajectory.namespace.trajectories:  # not evicted meanwhile
            cache.store.evict(trajectory, "deleted")
        if place % 100 == 99:
            await trio.lowlevel.checkpoint()
    await cache.sweep()
    return json_reply({"status": "success", "deleted": len(listed)})
