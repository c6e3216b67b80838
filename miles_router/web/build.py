"""Puts the ASGI layers together: guard, middleware, front, and the routes behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from miles_router.config import RADIX_TREE_MIDDLEWARE
from miles_router.core.auth import Gatekeeper, open_networks
from miles_router.core.request import PathClass
from miles_router.errors import BadRequest
from miles_router.plugins.api import RouterApi
from miles_router.plugins.loader import wrap
from miles_router.web.caller import context_of, matched
from miles_router.web.control import Control
from miles_router.web.front import Front
from miles_router.web.guard import Guard
from miles_router.web.own_routes import OwnRoutes
from miles_router.web.planning import RequestPlanner

if TYPE_CHECKING:
    from miles_router.net.passing import Passing
    from miles_router.net.services import Services
    from miles_router.net.token_cache import TokenCache
    from miles_router.web.replies import App, Scope


def planner_of(services: Services, app: App) -> RequestPlanner | None:
    """Who plans requests for the express; None where middleware is to see each of them.

    The token cache need not: it takes part in the express.

    `app` must be made by `build_app`.
    """
    if _named_middleware(services) or not isinstance(app, Guard):
        return None
    return RequestPlanner(services, app, _passing(services))


def _named_middleware(services: Services) -> list[str]:
    """Middleware beside the token cache, which may be named among it."""
    return [path for path in services.settings.middleware if path != RADIX_TREE_MIDDLEWARE]


def _api(services: Services) -> RouterApi:
    return RouterApi(settings=services.settings, pool=services.pool, clock=trio.current_time)


def _passing(services: Services) -> Passing | None:
    """The token cache's part in the express."""
    if services.token_cache is None:
        return None
    from miles_router.plugins.token_cache.passage import CachePassing  # noqa: PLC0415  see `_cached`

    return CachePassing(services.token_cache, _api(services).note_weight_version)


def build_app(services: Services, own_routes: OwnRoutes | None = None) -> App:
    """The whole router as one ASGI app.

    `own_routes`: where somebody is to load them before the first request to one of them.

    Raises:
        ConfigFault: a middleware cannot be loaded.
    """
    settings = services.settings
    front = Front(services, own_routes or OwnRoutes(services), Control(services))
    api = _api(services)
    inner = front if services.token_cache is None else _cached(front, services.token_cache, api)
    chain = wrap(inner, _named_middleware(services), api)
    gatekeeper = Gatekeeper(admin_token=settings.admin_token, api_keys=settings.tenants_by_key)
    return Guard(services, gatekeeper, chain, open_to=open_networks(settings.open_registration))


def _cached(app: App, cache: TokenCache, api: RouterApi) -> App:
    """`app` with the token cache around it."""
    # Imported where there is a cache, as all of it: with numpy, which starts a thread for each
    # core, that is 150 ms of CPU, a seventh of the time to the first screen without one.
    from miles_router.plugins.token_cache.middleware import TokenCacheMiddleware  # noqa: PLC0415

    return TokenCacheMiddleware(
        app,
        cache,
        api,
        takes_part=_is_generate,
        tenant_of=lambda scope: context_of(scope).caller.tenant,
    )


def _is_generate(scope: Scope) -> bool:
    """Whether a request reaches a worker as one to /generate, also where middleware rewrote it."""
    if scope["method"] not in {"POST", "PUT"}:
        return False
    try:
        return matched(scope).path_class is PathClass.GENERATE
    except BadRequest:
        return False  # answered by the router behind
