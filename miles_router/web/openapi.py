"""The OpenAPI document of the router's own routes; a test compares it with what Quart serves."""

from __future__ import annotations

import re

from miles_router import __version__
from miles_router.core.auth import Role
from miles_router.core.request import PathClass
from miles_router.web.guard import role_for

_URL = [("url", "query", False, "The worker's URL; `worker_url` and a JSON body work as well")]
_FLUSH = [("timeout", "query", False, "Seconds a worker may wait for its running requests")]
_NAME = [("name", "path", True, "A worker's id, or its percent-encoded URL")]
_DEADLINE = ("deadline_s", "query", False, "Cut what still runs after so many seconds")
_TENANT = ("tenant", "query", False, "Another tenant; admin only")
_IDENTITY = ("identity", "path", True, "A trajectory's id")

Parameters = list[tuple[str, str, bool, str]]

# (method, path, summary, parameters, keys of a JSON body, status codes), these without what every
# route with such a body, or such a role, may answer.
ROUTES: list[tuple[str, str, str, Parameters, list[str], list[int]]] = [
    ("post", "/add_worker", "Register a worker", _URL, ["url", "worker_url"], [200]),
    ("post", "/remove_worker", "Remove a worker", _URL, ["url", "worker_url"], [200]),
    ("get", "/list_workers", "URLs of all workers", [], [], [200]),
    (
        "post",
        "/workers",
        "Register a worker",
        [("wait", "query", False, "Seconds to wait until it is active")],
        ["url", "api_key", "labels", "worker_type"],
        [200, 202, 502, 504],
    ),
    ("get", "/workers", "All workers", [], [], [200]),
    ("get", "/workers/{name}", "One worker", _NAME, [], [200, 404]),
    ("delete", "/workers/{name}", "Remove a worker", [*_NAME, _DEADLINE], [], [202, 400, 404]),
    ("post", "/workers/{name}/probe", "Check its health now", _NAME, [], [200, 404, 504]),
    ("post", "/workers/{name}/drain", "Drain it", _NAME, ["deadline_s"], [200, 404, 409]),
    ("post", "/workers/{name}/undrain", "Take a drain back", _NAME, [], [200, 404, 409]),
    ("post", "/workers/{name}/quarantine", "Take it out", _NAME, ["reason"], [200, 404, 409]),
    ("post", "/workers/{name}/release", "Let it back in", _NAME, [], [200, 404, 409]),
    ("get", "/get_loads", "Requests in flight per worker", [], [], [200]),
    ("post", "/flush_cache", "Flush the workers' prefix caches", _FLUSH, [], [200, 206, 400, 502]),
    ("get", "/flush_cache", "The same, as SGLang has it", _FLUSH, [], [200, 206, 400, 502]),
    ("get", "/engine_metrics", "The workers' own metrics", [], [], [200]),
    (
        "post",
        "/abort_request",
        "Abort",
        [],
        ["rid", "abort_all", "request_id"],
        [200, 206, 404, 409, 502],
    ),
    (
        "post",
        "/finish_session",
        "Forget which worker a session lives on",
        [("session_id", "query", False, "The session key")],
        ["session_id"],
        [200],
    ),
    (
        "post",
        "/retrieve_from_text",
        "The exact tokens of a trajectory",
        [],
        ["text", "return_logp", "session", "rid", "on_miss", "return_routed_experts"],
        [200, 404, 410],
    ),
    (
        "get",
        "/trajectories",
        "The caller's trajectories, oldest first",
        [
            ("limit", "query", False, "At most so many; 1 to 1000"),
            ("after", "query", False, "Only those behind the one with this id"),
            _TENANT,
        ],
        [],
        [200, 400, 403, 404],
    ),
    ("delete", "/trajectories", "Delete all of them", [_TENANT], [], [200, 403, 404]),
    (
        "get",
        "/trajectories/{identity}",
        "One trajectory: JSON, or safetensors (Accept: application/octet-stream)",
        [_IDENTITY, _TENANT],
        [],
        [200, 403, 404, 410],
    ),
    (
        "delete",
        "/trajectories/{identity}",
        "Delete one",
        [_IDENTITY, _TENANT],
        [],
        [200, 403, 404, 410],
    ),
    ("post", "/cache/gc", "Sweep the token cache", [], [], [200, 404]),
    ("get", "/cache/stats", "Counts of the token cache", [], [], [200, 404]),
    ("get", "/livez", "The process is alive", [], [], [200]),
    ("get", "/readyz", "A worker is healthy", [], [], [200, 503]),
    ("get", "/health", "Healthy and total workers", [], [], [200, 503]),
    ("get", "/metrics", "The router's metrics (Prometheus)", [], [], [200]),
    (
        "get",
        "/snapshot",
        "The whole state of the router",
        [
            ("focus", "query", False, "A worker's id: its oldest requests as well"),
            ("events", "query", False, "So many of the newest events; 0 to 10000, 200 if left out"),
        ],
        [],
        [200, 400],
    ),
    (
        "get",
        "/events",
        "Pool events as they happen (server-sent events)",
        [("since", "query", False, "Only events after this seq")],
        [],
        [200, 400],
    ),
    (
        "get",
        "/log",
        "The newest lines of the router's log",
        [("since", "query", False, "Only lines after this seq")],
        [],
        [200, 400],
    ),
    ("get", "/openapi.json", "This document", [], [], [200]),
]

_MEANINGS = {
    200: "Done",
    202: "Accepted",
    206: "Some workers failed",
    400: "Refused; the error says why",
    401: "No credential, or one that is not known",
    403: "The caller may not",
    404: "There is no such thing",
    408: "The body did not come in time",
    409: "The worker's state does not allow it",
    410: "It was there and is gone",
    413: "The body is too large",
    502: "The workers failed, or no worker answers there",
    503: "Not now",
    504: "Not active in time",
}


def _shared_statuses(method: str, path: str, body_keys: list[str]) -> set[int]:
    """What a route answers because of who may call it, and because it reads a body."""
    role = role_for(method.upper(), path, PathClass.OWN)
    by_role: dict[Role, set[int]] = {
        Role.OPEN: set(),
        Role.ROLLOUT: {401},
        Role.ADMIN: {401, 403},
    }
    found = by_role[role]
    return found | {400, 408, 413} if body_keys else found


def document() -> dict[str, object]:
    """The document, ready to be encoded as JSON."""
    paths: dict[str, dict[str, object]] = {}
    for method, path, summary, parameters, body_keys, statuses in ROUTES:
        operation: dict[str, object] = {
            "summary": summary,
            "operationId": method + re.sub(r"\W+", "_", path),
            "parameters": [
                {
                    "name": name,
                    "in": place,
                    "required": is_required,
                    "description": text,
                    "schema": {"type": "string"},
                }
                for name, place, is_required, text in parameters
            ],
            "responses": {
                str(status): {"description": _MEANINGS[status]}
                for status in sorted({*statuses, *_shared_statuses(method, path, body_keys)})
            },
        }
        if body_keys:
            schema = {"type": "object", "properties": {key: {} for key in body_keys}}
            operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "miles-router",
            "version": __version__,
            "description": "The router's own routes. Every other path is relayed to a worker.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}, {}],
    }
