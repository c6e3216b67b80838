"""Puts the ASGI layers together: guard, middleware, front, and the routes behind it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, cast

import trio

from miles_router.config import RADIX_TREE_MIDDLEWARE
from miles_router.core.auth import Gatekeeper
from miles_router.core.request import PathClass
from miles_router.errors import BadRequest
from miles_router.plugins.api import RouterApi
from miles_router.plugins.loader import wrap
from miles_router.web.caller import context_of, matched
from miles_router.web.compat import make_compat
from miles_router.web.control import Control
from miles_router.web.front import Front
from miles_router.web.guard import Guard
from miles_router.web.no_cache import make_no_cache
from miles_router.web.observe import make_observe
from miles_router.web.own import make_quart
from miles_router.web.planning import RequestPlanner
from miles_router.web.registration import Registrar
from miles_router.web.requests import make_requests
from miles_router.web.workers import make_workers

if TYPE_CHECKING:
    from quart import Blueprint

    from miles_router.net.services import Services
    from miles_router.net.token_cache import TokenCache
    from miles_router.web.replies import App, Scope


def planner_of(services: Services, app: App) -> RequestPlanner | None:
    """Who plans requests for the express; None where middleware is to see each of them.

    `app` must be made by `build_app`.
    """
    has_middleware = bool(services.settings.middleware) or services.token_cache is not None
    if has_middleware or not isinstance(app, Guard):
        return None
    return RequestPlanner(services, app)


def build_app(services: Services) -> App:
    """The whole router as one ASGI app.

    Raises:
        ConfigFault: a middleware cannot be loaded.
    """
    settings = services.settings
    open_to = tuple(ipaddress.ip_network(text) for text in settings.open_registration)
    registrar = Registrar(services, open_to)
    quart = make_quart(services)
    own_routes = cast("App", quart)  # Quart's ASGI types are dicts with names
    for blueprint in (
        make_compat(services, registrar),
        make_workers(services, registrar),
        make_requests(services),
        make_observe(services),
        *_cache_routes(services),
    ):
        quart.register_blueprint(blueprint)
    front = Front(services, own_routes, Control(services))
    api = RouterApi(settings=settings, pool=services.pool, clock=trio.current_time)
    inner = front if services.token_cache is None else _cached(front, services.token_cache, api)
    named = [path for path in settings.middleware if path != RADIX_TREE_MIDDLEWARE]
    chain = wrap(inner, named, api)
    gatekeeper = Gatekeeper(admin_token=settings.admin_token, api_keys=settings.tenants_by_key)
    return Guard(services, gatekeeper, chain, own_routes, open_to=open_to)


def _cache_routes(services: Services) -> list[Blueprint]:
    """The routes of the token cache, whether there is one or not."""
    if services.token_cache is None:
        return [make_no_cache()]
    # Imported where there is a cache, as all of it: with numpy, which starts a thread for each
    # core, that is 150 ms of CPU, a seventh of the time to the first screen without one.
    from miles_router.web.tokens import make_tokens  # noqa: PLC0415
    from miles_router.web.trajectories import make_trajectories  # noqa: PLC0415

    return [
        make_tokens(services, services.token_cache),
        make_trajectories(services.token_cache),
    ]


def _cached(app: App, cache: TokenCache, api: RouterApi) -> App:
    """`app` with the token cache around it."""
    from miles_router.plugins.token_cache.middleware import (  # noqa: PLC0415  see `_cache_routes`
        TokenCacheMiddleware,
    )

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
