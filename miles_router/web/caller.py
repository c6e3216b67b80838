"""What the guard knows about a request, for everyone behind it: kept in the ASGI scope."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miles_router.core.auth import Caller
    from miles_router.core.request import PathClass
    from miles_router.core.urlrules import Address

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
    failure: BaseException | None = field(default=None)
    """What the router itself failed with, so that it is not blamed on a middleware."""


def context_of(scope: dict[str, Any]) -> RequestContext:
    """The context that the guard put into `scope`."""
    context: RequestContext = scope[SCOPE_KEY]
    return context


def client_address(scope: dict[str, Any]) -> Address | None:
    """The address that the connection comes from; None where there is none."""
    client = scope.get("client")
    try:
        return None if not client else ipaddress.ip_address(str(client[0]).partition("%")[0])
    except ValueError:
        return None
