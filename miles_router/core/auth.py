"""Who is calling, and what that caller may do.

Credentials are compared in constant time over fixed-length digests, so neither content nor length
of a secret shows in the timing. This file must not know HTTP beyond one header value.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING

from miles_router.core.urlrules import Address, Network, unmap
from miles_router.errors import Forbidden, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_TENANT = "default"


class Role(Enum):
    """What a route asks of its caller."""

    OPEN = "open"  # liveness and metrics
    ROLLOUT = "rollout"  # generate, list, retrieve
    ADMIN = "admin"  # pool changes, engine control, what shows every tenant


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: whose data it sees, and whether it may steer the pool."""

    tenant: str = DEFAULT_TENANT
    is_admin: bool = False


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


class Gatekeeper:
    """The configured credentials."""

    def __init__(self, *, admin_token: str | None, api_keys: Mapping[str, str]) -> None:
        """`api_keys` maps key to tenant."""
        self._admin = None if admin_token is None else _digest(admin_token)
        self.tenants = frozenset(api_keys.values())
        self._keys = [
            (_digest(key), Caller(tenant=tenant, is_admin=self._keys_steer))
            for key, tenant in api_keys.items()
        ]

    def admit(self, role: Role, authorization: str | None) -> Caller:
        """The caller behind an `Authorization` header value, if `role` is open to it.

        Without an admin token the admin routes ask for no more than the rollout routes do; without
        API keys the rollout routes ask for nothing.

        Raises:
            Unauthorized: no credential or an unknown one.
            Forbidden: an API key where the admin token is needed.
        """
        caller = self._identify(authorization)
        if role is Role.OPEN:
            return caller or Caller()
        if role is Role.ADMIN and self._admin is not None:
            if caller is None:
                raise Unauthorized(
                    "this route needs the admin token: Authorization: Bearer TOKEN"
                    if authorization is None
                    else "the token that was sent is not the admin token of this router"
                )
            if not caller.is_admin:
                raise Forbidden("an API key does not open this route: it needs the admin token")
            return caller
        if caller is not None:
            return caller
        if self._keys:
            raise Unauthorized("this route needs an API key: Authorization: Bearer KEY")
        return Caller(is_admin=self._admin is None)

    @property
    def _keys_steer(self) -> bool:
        """Without an admin token, the key of the only tenant may do what touches all requests."""
        return self._admin is None and len(self.tenants) <= 1

    def _identify(self, authorization: str | None) -> Caller | None:
        if authorization is None:
            return None
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        given = _digest(secret.strip())
        found: Caller | None = None
        for digest, caller in self._keys:  # every key is compared: no early exit to time
            if hmac.compare_digest(given, digest):
                found = caller
        if self._admin is not None and hmac.compare_digest(given, self._admin):
            found = Caller(is_admin=True)
        return found


def open_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks that `--open-registration` names."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def may_register(
    client: Address | None, worker: Iterable[Address], open_to: Iterable[Network]
) -> bool:
    """Whether `--open-registration` lets `client` name a worker at these addresses.

    One and the same network must hold the caller and every address of the worker.
    """
    if client is None:
        return False
    client = unmap(client)
    addresses = [unmap(address) for address in worker]
    return bool(addresses) and any(
        all(a.version == network.version and a in network for a in (client, *addresses))
        for network in open_to
    )
