"""Middleware: ASGI classes that users put around the router with `--middleware`."""
