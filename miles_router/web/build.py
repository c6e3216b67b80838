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
from miles_router.plugins.token_cache.middleware import TokenCacheMiddleware
from miles_router.web.caller import context_of, matched
from miles_router.web.compat import make_compat
from miles_router.web.control import Control
from miles_router.web.front import Front
from miles_router.web.guard import Guard
from miles_router.web.observe import make_observe
from miles_router.web.own import make_quart
from miles_router.web.registration import Registrar
from miles_router.web.requests import make_requests
from miles_router.web.tokens import make_tokens
from miles_router.web.trajectories import make_trajectories
from miles_router.web.workers import make_workers

if TYPE_CHECKING:
    from miles_router.net.services import Services
    from miles_router.net.token_cache import TokenCache
    from miles_router.web.replies import App, Scope


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
        make_tokens(services),
        make_trajectories(services),
    ):
        quart.register_blueprint(blueprint)
    front = Front(services, own_routes, Control(services))
    api = RouterApi(settings=settings, pool=services.pool, clock=trio.current_time)
    inner = front if services.token_cache is None else _cached(front, services.token_cache, api)
    named = [path for path in settings.middleware if path != RADIX_TREE_MIDDLEWARE]
    chain = wrap(inner, named, api)
    gatekeeper = Gatekeeper(admin_token=settings.admin_token, api_keys=settings.tenants_by_key)
    return Guard(services, gatekeeper, chain, own_routes, open_to=open_to)


def _cached(app: App, cache: TokenCache, api: RouterApi) -> App:
    """`app` with the token cache around it."""
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
