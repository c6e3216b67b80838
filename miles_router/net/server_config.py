"""Hypercorn's settings for a router. This file must not know connections."""

from __future__ import annotations

from hypercorn.config import Config

# Bursts of thousands of rollouts connect at once; the kernel caps this at net.core.somaxconn.
BACKLOG = 4096
# Clients keep pools of connections between rollout phases: minutes, not Hypercorn's 5 s. It also
# bounds how long an unfinished request head may take.
KEEP_ALIVE_S = 600.0
# Between two pieces of a body nothing keeps a client waiting but its own network.
BODY_PAUSE_S = 60.0
NEVER = 10**12


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
