"""What the guard knows about a request, for everyone behind it: kept in the ASGI scope."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_to_bytes

from miles_router.core.request import PathClass, classify, matched_path
from miles_router.errors import BadRequest

if TYPE_CHECKING:
    from miles_router.core.auth import Caller
    from miles_router.core.urlrules import Address
    from miles_router.net.call import Call
    from miles_router.web.replies import Receive

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
SCOPE_KEY = "miles_router"
# Clients ask for few paths over and over; what a longer one means is found anew each time.
_REMEMBERED_BYTES = 256


@dataclass(slots=True, eq=False)
class RequestContext:
    """One request: who asks, under which id, since when (monotonic seconds)."""

    request_id: str
    caller: Caller
    path: str  # decoded and normalised
    path_class: PathClass
    started_at: float
    raw_path: bytes = b""  # of the target that `path` was read from
    is_open_registration: bool = False
    """Let in without the admin token by its network: it may register workers of that network."""
    receive: Receive | None = None
    """As the server gave it, where the server also tells by itself that the client leaves."""
    failure: Exception | None = field(default=None)
    """What the router itself failed with, so that it is not blamed on a middleware."""


def context_of(scope: dict[str, Any]) -> RequestContext:
    """The context that the guard put into `scope`."""
    context: RequestContext = scope[SCOPE_KEY]
    return context


def on_behalf(scope: dict[str, Any], call: Call) -> Call:
    """`call` under the id and in the trace of the request in `scope`."""
    return call.on_behalf_of(context_of(scope).request_id, scope["headers"])


def target_path(scope: dict[str, Any]) -> bytes:
    """The path of the request target as it came, still encoded, without its query.

    Absolute-form targets (RFC 9112, 3.2.2) lose their origin. Both what a request is and what a
    worker gets follow from this one reading: were they two, a target could be one thing for the
    guard and another for the worker. Fragments, which servers cut off, are refused for that reason.

    Raises:
        BadRequest: the target is neither a path nor an absolute URL.
    """
    if b"#" in scope["query_string"]:
        raise BadRequest("the request target must not carry a fragment (#)")
    target: bytes = scope["raw_path"]
    return (_path_of if len(target) <= _REMEMBERED_BYTES else _path_of.__wrapped__)(target)


class Matched(NamedTuple):
    """What a web framework would match, and what that makes of the request."""

    path: str  # decoded and normalised
    path_class: PathClass


def matched(scope: dict[str, Any]) -> Matched:
    """The path of the request target, read.

    Raises:
        BadRequest: see `target_path`.
    """
    path = target_path(scope)
    return (_matched if len(path) <= _REMEMBERED_BYTES else _matched.__wrapped__)(path)


@lru_cache(maxsize=1024)
def _matched(target: bytes) -> Matched:
    path = matched_path(target.decode("latin-1"))
    return Matched(path, classify(path))


@lru_cache(maxsize=1024)
def _path_of(target: bytes) -> bytes:
    if _CONTROL.search(unquote_to_bytes(target)):
        # Frameworks match "/path" also where a line feed follows: refused, so that no path has two
        # readings.
        raise BadRequest("the request target must not hold control characters")
    if b"#" in target:
        raise BadRequest("the request target must not carry a fragment (#)")
    if target.startswith(b"/"):
        return target
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in {b"http", b"https"}:
        raise BadRequest("the request target must be a path")
    return b"/" + rest.partition(b"/")[2]


def client_address(scope: dict[str, Any]) -> Address | None:
    """The address that the connection comes from; None where there is none."""
    client = scope.get("client")
    try:
        return None if not client else ipaddress.ip_address(str(client[0]).partition("%")[0])
    except ValueError:
        return None
