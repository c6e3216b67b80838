"""What all connections that Hypercorn serves have in common: its settings, the app, their end.

Imported where a connection is first handed over and not before (`ingress`): Hypercorn and the
protocols that it knows are an eighth of what a router loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from miles_router.net.server_config import BACKLOG, KEEP_ALIVE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trio

    App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

NEVER = 10**12


class HypercornParts:
    """One router's."""

    def __init__(self, app: App, terminated: trio.Event) -> None:
        """`terminated`: connections that wait for a request are to end."""
        self.app = ASGIWrapper(app)  # type: ignore[arg-type]  # our ASGI types are plain dicts
        self.config = hypercorn_config()
        self.context = WorkerContext(None)
        # Hypercorn asks whether it is set, and waits for it; it sets it nowhere.
        self.context.terminated = terminated  # type: ignore[assignment]  # its `set` is none of async


def hypercorn_config() -> Config:
    """Hypercorn's settings, each chosen for a router: its defaults are made for small answers."""
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.backlog = BACKLOG
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = NEVER
    config.read_timeout = None  # would also end the wait for a long generation
    config.h11_max_incomplete_size = 262_144  # the gate is stricter and answers in JSON
    config.include_date_header = False  # the worker's own headers are passed on
    config.include_server_header = False
    config.max_app_queue_size = 4  # pieces of a request body that wait for the app, 64 KiB each
    config.startup_timeout = 60
    config.shutdown_timeout = 60
    return config
