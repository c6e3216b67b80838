"""Puts the ASGI layers together: guard, middleware, front, and the routes behind it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, cast

import trio

from miles_router.core.auth import Gatekeeper
from miles_router.plugins.api import RouterApi
from miles_router.plugins.loader import wrap
from miles_router.web.compat import make_compat
from miles_router.web.control import Control
from miles_router.web.front import Front
from miles_router.web.guard import Guard
from miles_router.web.observe import make_observe
from miles_router.web.own import make_quart
from miles_router.web.registration import Registrar
from miles_router.web.requests import make_requests
from miles_router.web.workers import make_workers

if TYPE_CHECKING:
    from miles_router.net.services import Services
    from miles_router.web.replies import App


def build_app(services: Services) -> App:
    """The whole router as one ASGI app.

    Raises:
        ConfigFault: a middleware cannot be loaded.
    """
    settings = services.settings
    open_to = tuple(ipaddress.ip_network(text) for text in settings.open_registration)
    registrar = Registrar(services, open_to)
    quart = make_quart(services.metrics)
    own_routes = cast("App", quart)  # Quart's ASGI types are dicts with names
    for blueprint in (
        make_compat(services, registrar),
        make_workers(services, registrar),
        make_requests(services),
        make_observe(services),
    ):
        quart.register_blueprint(blueprint)
    front = Front(services, own_routes, Control(services))
    api = RouterApi(settings=settings, pool=services.pool, clock=trio.current_time)
    chain = wrap(front, settings.middleware, api)
    gatekeeper = Gatekeeper(admin_token=settings.admin_token, api_keys=settings.tenants_by_key)
    return Guard(services, gatekeeper, chain, own_routes, open_to=open_to)
