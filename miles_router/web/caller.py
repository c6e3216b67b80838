"""What the guard knows about a request, for everyone behind it: kept in the ASGI scope."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from miles_router.errors import BadRequest

if TYPE_CHECKING:
    from miles_router.core.auth import Caller
    from miles_router.core.request import PathClass
    from miles_router.core.urlrules import Address
    from miles_router.net.call import Call

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
SCOPE_KEY = "miles_router"


@dataclass(slots=True, eq=False)
class RequestContext:
    """One request: who asks, under which id, since when (monotonic seconds)."""

    request_id: str
    caller: Caller
    path: str  # decoded and normalised
    path_class: PathClass
    started_at: float
    is_open_registration: bool = False
    """Let in without the admin token by its network: it may register workers of that network."""
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
    target: bytes = scope["raw_path"]
    if _CONTROL.search(unquote_to_bytes(target)):
        # Frameworks match "/path" also where a line feed follows: refused, so that no path has two
        # readings.
        raise BadRequest("the request target must not hold control characters")
    if b"#" in target or b"#" in scope["query_string"]:
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
