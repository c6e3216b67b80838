"""All of the router's own routes in one Quart app.

Imported where it is needed and not before (`own_routes`): with Quart it takes a sixth of the time
until a router listens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from miles_router.core.auth import open_networks
from miles_router.web.compat import make_compat
from miles_router.web.no_cache import make_no_cache
from miles_router.web.observe import make_observe
from miles_router.web.own import make_quart
from miles_router.web.registration import Registrar
from miles_router.web.requests import make_requests
from miles_router.web.workers import make_workers

if TYPE_CHECKING:
    from quart import Blueprint

    from miles_router.net.services import Services
    from miles_router.web.replies import App


def make_own_app(services: Services) -> App:
    """The app. It may be made outside the router's thread: `services` is kept, and not touched.

    It serves requests as it is. The lifespan of ASGI, in which Quart runs what was to run before
    the first request, and makes the nursery of its background tasks, is not for it: these routes
    have neither.
    """
    quart = make_quart(services)
    registrar = Registrar(services, open_networks(services.settings.open_registration))
    for blueprint in (
        make_compat(services, registrar),
        make_workers(services, registrar),
        make_requests(services),
        make_observe(services),
        *_cache_routes(services),
    ):
        quart.register_blueprint(blueprint)
    return cast("App", quart)  # Quart's ASGI types are dicts with names


def _cache_routes(services: Services) -> list[Blueprint]:
    """The routes of the token cache, whether there is one or not."""
    if services.token_cache is None:
        return [make_no_cache()]
    # Imported where there is a cache: see `build`.
    from miles_router.web.tokens import make_tokens  # noqa: PLC0415
    from miles_router.web.trajectories import make_trajectories  # noqa: PLC0415

    return [
        make_tokens(services, services.token_cache),
        make_trajectories(services.token_cache),
    ]
