"""From a request to a reply: the route table, the API key, and SGLang's other answers.

Each room of routes (generate, control, openai, sim) brings a table `{path: (methods, function)}`.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, TypeAlias

from miles_router.sim import (
    control,
    echo,
    generate,
    inspection,
    loads,
    openai_chat,
    openai_text,
    sessions,
)
from miles_router.sim.http import Reply
from miles_router.sim.refusals import RequestRefused

if TYPE_CHECKING:
    from miles_router.sim.http import Request
    from miles_router.sim.route import Route
    from miles_router.sim.worker import Worker

Table: TypeAlias = "dict[str, Route]"

ROUTES: Table = {
    **generate.ROUTES,
    **control.ROUTES,
    **loads.ROUTES,
    **sessions.ROUTES,
    **openai_chat.ROUTES,
    **openai_text.ROUTES,
    **inspection.ROUTES,
    **echo.ROUTES,
}

_OPEN_PREFIXES = ("/health", "/ready", "/metrics", "/sim/")


def _is_authorized(worker: Worker, request: Request) -> bool:
    key = worker.settings.api_key
    if key is None or request.path.startswith(_OPEN_PREFIXES):
        return True
    scheme, _, given = (request.header("authorization") or "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), key.encode())


async def answer(worker: Worker, request: Request) -> Reply:
    """The reply to one request, errors included."""
    if not _is_authorized(worker, request):
        return Reply.json({"error": "Unauthorized"}, 401)
    path = request.path
    route = ROUTES.get(path) or echo.prefixed_route(path)
    if route is None:
        return Reply.json({"detail": "Not Found"}, 404)
    if route.methods and request.method not in route.methods:
        reply = Reply.json({"detail": "Method Not Allowed"}, 405)
        return Reply(405, reply.body, (*reply.headers, ("allow", ", ".join(sorted(route.methods)))))
    try:
        return await route.function(worker, request)
    except RequestRefused as refused:
        return Reply.json(refused.body, refused.status)
