"""The routes of the token cache on a router that has none: each says how to turn it on.

They are apart from the real ones so that a router without a cache does not load it (`build`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint

from miles_router.errors import TokenCacheOff

if TYPE_CHECKING:
    from quart import Response


def make_no_cache() -> Blueprint:
    """The routes of `tokens` and `trajectories`."""
    routes = Blueprint("no_cache", __name__)

    @routes.post("/retrieve_from_text")
    @routes.post("/cache/gc")
    @routes.get("/cache/stats")
    @routes.route("/trajectories", methods=["GET", "DELETE"])
    @routes.route("/trajectories/<identity>", methods=["GET", "DELETE"])
    async def refuse(identity: str = "") -> Response:
        del identity
        raise TokenCacheOff("the token cache is off: start the router with --token-cache")

    return routes
