"""What a route is, and how a route reads a JSON body as FastAPI would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from miles_router.sim.refusals import malformed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from miles_router.sim.http import Reply, Request
    from miles_router.sim.worker import Worker

Answer: TypeAlias = "Callable[[Worker, Request], Awaitable[Reply]]"


@dataclass(frozen=True, slots=True)
class Route:
    """The methods a path takes (none: all) and the function that answers."""

    methods: frozenset[str]
    function: Answer


def get(function: Answer) -> Route:
    """A route for GET."""
    return Route(frozenset({"GET"}), function)


def post(function: Answer, *more: str) -> Route:
    """A route for POST and the methods in `more`."""
    return Route(frozenset({"POST", *more}), function)


async def read_json(worker: Worker, request: Request) -> Any:
    """The JSON body.

    Raises:
        RequestRefused: 400 in FastAPI's shape when it is no JSON.
    """
    body = await request.body()
    worker.stats.note_body(request, body)
    kind = (request.header("content-type") or "application/json").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise malformed("body: Input should be a valid dictionary; send application/json")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise malformed(f"JSON decode error: {error}") from None


async def read_object(worker: Worker, request: Request) -> dict[str, Any]:
    """The JSON body, which must be an object."""
    body = await read_json(worker, request)
    if not isinstance(body, dict):
        raise malformed("body: Input should be a valid dictionary or object")
    return body
