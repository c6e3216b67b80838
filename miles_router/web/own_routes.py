"""The router's own routes as an ASGI app, whose parts are loaded late.

Quart with all that it imports is a sixth of what a router loads, and a router that only relays, or
whose first screen is still to be drawn, does without it. This file must not know the routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.net.late import Late

if TYPE_CHECKING:
    from miles_router.net.services import Services
    from miles_router.web.replies import App, Receive, Scope, Send


class OwnRoutes:
    """Serves them; `quart` may be loaded before the first request, which loads it otherwise."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.quart: Late[App] = Late(self._make)

    def _make(self) -> App:
        from miles_router.web.blueprints import make_own_app  # noqa: PLC0415  loads Quart

        return make_own_app(self._services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope of type `http`."""
        quart = self.quart
        if not quart.is_loaded.is_set():
            # Not in this task, where it would be one request that fails: a router that cannot load
            # its routes ends, with the traceback.
            self._services.background.start_soon(quart.get)
            await quart.is_loaded.wait()
        await quart.part(scope, receive, send)
