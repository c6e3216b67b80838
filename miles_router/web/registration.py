"""Registering and removing workers: from a request to `Pool`, with every check on the way.

Both families of routes (`compat`, `workers`) come here. A caller without the admin token gets in
only through `--open-registration`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from quart import request

from miles_router.core.auth import may_register
from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import WorkerSpec
from miles_router.errors import BadRequest, DialFailed, Forbidden, PdUnsupported, UrlRefused
from miles_router.web.caller import client_address, context_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miles_router.core.urlrules import Address, Network, WorkerUrl
    from miles_router.core.worker import Worker
    from miles_router.net.services import Services

_KNOWN_KEYS = frozenset({"url", "worker_url", "api_key", "labels", "worker_type"})


class Registrar:
    """Checks registrations and hands them to the pool."""

    def __init__(self, services: Services, open_to: tuple[Network, ...]) -> None:
        self._services = services
        self._open_to = open_to

    async def add(self, url: str, body: Mapping[str, object]) -> Worker:
        """Register the worker at `url`; it serves once a probe has shown that it is one.

        Raises:
            UrlRefused: the URL, or an address behind it, breaks a rule.
            Forbidden: the caller may not register this worker.
        """
        spec = _read_spec(url, body)
        addresses = await self._resolve(spec.url)
        is_trusted = self._authorize(addresses)
        pool = self._services.pool
        spec = WorkerSpec(
            url=spec.url,
            api_key=spec.api_key,
            labels=spec.labels,
            worker_type=spec.worker_type,
            extra=spec.extra,
            addresses=addresses,
            within=() if is_trusted else self._open_to,
        )
        return pool.add(spec, trio.current_time(), lifts_hold=is_trusted)

    def authorize_removal(self, worker: Worker) -> None:
        """Raise `Forbidden` unless the caller may remove `worker`."""
        self._authorize(worker.addresses)

    async def _resolve(self, url: WorkerUrl) -> tuple[Address, ...]:
        try:
            return await self._services.dialer.resolve(url)
        except DialFailed as error:
            raise UrlRefused(error.message, rule="resolve") from error

    def _authorize(self, addresses: tuple[Address, ...]) -> bool:
        """True for a trusted caller, False for one let in by its network."""
        scope: dict[str, Any] = request.scope  # type: ignore[assignment]  # a plain dict for us
        if not context_of(scope).is_open_registration:
            return True
        if may_register(client_address(scope), addresses, self._open_to):
            return False
        raise Forbidden(
            "without the admin token a worker registers itself only with a URL in its own network, "
            "and only in one that the router was started with (--open-registration)"
        )


def _read_spec(url: str, body: Mapping[str, object]) -> WorkerSpec:
    """What a registration says.

    Raises:
        BadRequest: a field has the wrong type.
        PdUnsupported: prefill or decode.
    """
    worker_type = body.get("worker_type") or "regular"
    if not isinstance(worker_type, str):
        raise BadRequest("worker_type must be a string")
    if worker_type in {"prefill", "decode"}:
        raise PdUnsupported(
            f"worker_type {worker_type!r}: prefill/decode disaggregation is not supported"
        )
    api_key = body.get("api_key")
    labels = body.get("labels") or {}
    if api_key is not None and (
        not isinstance(api_key, str) or not api_key.isascii() or not api_key.isprintable()
    ):
        raise BadRequest("api_key must be a string of printable ASCII characters")
    if not isinstance(labels, dict):
        raise BadRequest("labels must be an object of strings")
    return WorkerSpec(
        url=parse_worker_url(url),
        api_key=api_key or None,
        labels={str(key): str(value) for key, value in labels.items()},
        worker_type=worker_type,
        extra={key: value for key, value in body.items() if key not in _KNOWN_KEYS},
    )
