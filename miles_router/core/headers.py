"""Which headers cross the router, in either direction.

Names are lower-case bytes, as ASGI and httptools callbacks give them after lowering. Hop-by-hop
headers, and those that a `Connection` header names, stop here (RFC 9110, 7.6.1); repeated headers
stay repeated and in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)

# Written anew by whoever frames the message for the next hop. `expect` was answered by the
# router's own server, which had to read the body anyway.
_REFRAMED = frozenset({b"host", b"content-length", b"expect"})

SESSION_HEADERS = (b"x-miles-session", b"x-smg-routing-key")  # the first one present wins
_SESSION_NAMES = frozenset(SESSION_HEADERS)
REQUEST_ID_HEADER = b"x-request-id"
# W3C Trace Context and Baggage: what the router asks of workers belongs to its caller's trace.
TRACE_HEADERS = frozenset({b"traceparent", b"tracestate", b"baggage"})
WORKER_HEADER = b"x-miles-worker"

_NOT_FORWARDED = HOP_BY_HOP | _REFRAMED | {REQUEST_ID_HEADER}
_NOT_TO_WORKER = _NOT_FORWARDED | {b"authorization"}
_NOT_TO_CLIENT = HOP_BY_HOP | {WORKER_HEADER, REQUEST_ID_HEADER}


def first(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first value of `name`; None if it is absent."""
    for key, value in headers:
        if key == name:
            return value
    return None


def named_in_connection(headers: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    """The header names that the `Connection` headers declare to be for this hop only."""
    named: set[bytes] = set()
    for key, value in headers:
        if key == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    return named


def _without(headers: Headers, stop: frozenset[bytes]) -> Headers:
    """`headers` without those named in `stop`, or by a `Connection` header; a new list."""
    kept = [header for header in headers if header[0] not in stop]
    named = named_in_connection(headers)
    return [header for header in kept if header[0] not in named] if named else kept


def to_worker(
    headers: Headers,
    *,
    request_id: bytes,
    api_key: str | None,
    forward_authorization: bool,
) -> Headers:
    """The headers that a worker gets, without framing and host.

    The caller's `Authorization` is for the router: the worker gets its own key if it has one, or
    the caller's where `forward_authorization` says so.
    """
    kept = _without(headers, _NOT_FORWARDED if forward_authorization else _NOT_TO_WORKER)
    if api_key is not None and first(kept, b"authorization") is None:
        kept.append((b"authorization", b"Bearer " + api_key.encode()))
    kept.append((REQUEST_ID_HEADER, request_id))
    return kept


def trace_of(headers: Headers) -> Headers:
    """The headers that say to which trace a request belongs."""
    return [(key, value) for key, value in headers if key in TRACE_HEADERS]


def to_client(headers: Headers, *, worker_id: str) -> Headers:
    """The headers that the client gets of a worker's answer."""
    kept = _without(headers, _NOT_TO_CLIENT)
    kept.append((WORKER_HEADER, worker_id.encode()))
    return kept


def session_of(headers: Headers) -> str | None:
    """The session key that the caller named; None if it named none."""
    given = [header for header in headers if header[0] in _SESSION_NAMES]
    for name in SESSION_HEADERS if given else ():
        value = first(given, name)
        if value:
            return value.decode("latin-1")
    return None
