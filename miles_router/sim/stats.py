"""What happened to a worker, as counters and as the last requests exactly as they came."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from miles_router.sim.http import Request

SHOWN_BODY_BYTES = 65_536
LIMIT_PATHS = 256
LIMIT_ABORTS = 1_000


@dataclass(frozen=True, slots=True)
class _Seen:
    """A request without its connection, and of its body what is worth keeping."""

    head: dict[str, Any]
    body_bytes: int = 0
    body_sha256: str = hashlib.sha256().hexdigest()
    body_start: bytes = b""

    def shown(self) -> dict[str, Any]:
        return {
            **self.head,
            "body_bytes": self.body_bytes,
            "body_sha256": self.body_sha256,
            "body_base64": base64.b64encode(self.body_start).decode(),
        }


def _head(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "target": request.raw_target.decode("latin-1"),
        "http_version": request.http_version,
        "headers": [
            [name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers
        ],
    }


@dataclass(slots=True)
class Stats:
    """Counters of one worker; `/sim/` requests are not counted."""

    connections_open: int = 0
    connections_total: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    active: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    abort_requests: list[Any] = field(default_factory=list)
    _last: dict[str, _Seen] = field(default_factory=dict)

    def note_request(self, request: Request) -> None:
        """Count a request and keep its head."""
        path = request.path
        if path not in self.requests and len(self.requests) >= LIMIT_PATHS:
            path = "(other)"
        self.requests[path] += 1
        self._last.pop(path, None)
        self._last[path] = _Seen(_head(request))

    @contextmanager
    def counted(self, request: Request) -> Iterator[None]:
        """Count a request as active for the length of the block."""
        key = (request.path, request.method)
        self.active[key] += 1
        try:
            yield
        finally:
            self.active[key] -= 1
            if not self.active[key]:
                del self.active[key]

    def note_body(self, request: Request, body: bytes) -> None:
        """Keep the body of a request noted before."""
        if request.path in self._last:
            digest = hashlib.sha256(body).hexdigest()
            start = body[:SHOWN_BODY_BYTES]
            self._last[request.path] = _Seen(_head(request), len(body), digest, start)

    def note_abort(self, body: Any) -> None:
        """Keep what was posted to /abort_request."""
        if len(self.abort_requests) < LIMIT_ABORTS:
            self.abort_requests.append(body)

    def shown(self) -> dict[str, Any]:
        """The counters and the last request of each path, newest last."""
        last = {path: seen.shown() for path, seen in self._last.items()}
        return {
            "connections_open": self.connections_open,
            "connections_total": self.connections_total,
            "requests": dict(self.requests),
            "faults": dict(self.faults),
            "abort_requests": self.abort_requests,
            "last_request": next(reversed(last.values()), None),
            "last_requests": last,
        }
