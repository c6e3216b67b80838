"""Which settings cannot be used, alone or together, and what to do about it.

Pure: reads a `Settings`, raises `ConfigFault` with the name of the field in `key`. It must not know
where a value came from; the command line adds that. No message repeats a secret.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from miles_router.config import values
from miles_router.core.urlrules import AddressRules, parse_worker_url
from miles_router.errors import ConfigFault, UrlRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.config import Settings
    from miles_router.core.urlrules import WorkerUrl

_FLAG = {
    "workers": "--worker",
    "allow_workers": "--allow-worker",
    "api_keys": "--api-key",
}
# Smallest value each number may have; None (no limit) passes where the type allows it.
_AT_LEAST = {
    "shutdown_grace_s": 0,
    "health_failures": 1,
    "health_successes": 1,
    "retries": 0,
    "max_body_bytes": 1,
    "max_inflight_per_worker": 1,
    "max_inflight_total": 1,
    "queue_size": 0,
    "queue_timeout_s": 0,
    "affinity_margin": 0,
    "affinity_keys": 0,
    "cache_bytes": 1,
    "keep_versions": 1,
    "routed_experts_bytes": 0,
}
_ABOVE_ZERO = (
    "health_interval_s",
    "health_timeout_s",
    "connect_timeout_s",
    "first_byte_timeout_s",
    "idle_timeout_s",
    "affinity_ttl_s",
    "cache_ttl_s",
    "gc_interval_s",
)
_MAY_BE_NONE = {
    "cache_ttl_s",
    "first_byte_timeout_s",
    "idle_timeout_s",
    "max_inflight_per_worker",
    "max_inflight_total",
}
# Settings that say nothing unless the token cache is on.
_OF_THE_CACHE = ("tokenizer", "capture_routed_experts", "routed_experts_dir", "journal")
_TEXTS: dict[str, Callable[[str], None]] = {
    "host": values.check_bind_host,
    "health_path": values.check_url_path,
    "workers": values.check_worker_url,
    "allow_workers": values.check_network_or_host,
    "open_registration": values.check_network,
    "middleware": values.check_import_path,
}


def flag_of(name: str) -> str:
    """The flag that fills the field `name`."""
    return _FLAG.get(name, "--" + name.replace("_", "-"))


def check_settings(settings: Settings) -> None:
    """Raise `ConfigFault` for the first thing that cannot work."""
    _check_numbers(settings)
    for name, check in _TEXTS.items():
        value = getattr(settings, name)
        for text in (value,) if isinstance(value, str) else value:
            try:
                check(text)
            except ValueError as fault:
                raise ConfigFault(f"{flag_of(name)}: {fault}", key=name) from None
    worker_urls(settings)
    _check_admin_token(settings)
    _check_api_keys(settings)
    _check_exposure(settings)
    _check_token_cache(settings)


def worker_urls(settings: Settings) -> list[WorkerUrl]:
    """The workers that the settings name.

    An address is judged here. A name is judged by the addresses it has at each probe, so that a
    router may start before its workers' names exist.

    Raises:
        ConfigFault: one that can never be a worker.
    """
    rules = AddressRules.parse(settings.allow_workers)
    urls = []
    for text in settings.workers:
        try:
            url = parse_worker_url(text)
            refusal = None if url.address is None else rules.refusal(url.host, url.address)
        except UrlRefused as error:
            refusal = error
        if refusal is not None:
            raise ConfigFault(f"--worker {text}: {refusal.message}", key="workers")
        urls.append(url)
    return urls


def _check_token_cache(settings: Settings) -> None:
    if settings.has_token_cache:
        if not settings.tokenizer:
            raise ConfigFault(
                "--token-cache needs the model's tokenizer: give --tokenizer with the directory or "
                "hub name that the workers were started with",
                key="tokenizer",
            )
        if settings.routed_experts_dir is not None and not settings.capture_routed_experts:
            raise ConfigFault(
                "--routed-experts-dir has no effect without --capture-routed-experts",
                key="routed_experts_dir",
            )
        return
    for name in _OF_THE_CACHE:
        if getattr(settings, name):
            raise ConfigFault(f"{flag_of(name)} has no effect without --token-cache", key=name)


def _check_numbers(settings: Settings) -> None:
    if not 0 <= settings.port <= 65535:
        raise ConfigFault(f"--port must be 0 to 65535; it is {settings.port}", key="port")
    for name, least in _AT_LEAST.items():
        value = getattr(settings, name)
        if value is not None and not (math.isfinite(value) and value >= least):
            raise _out_of_range(name, value, f"at least {least}")
    for name in _ABOVE_ZERO:
        value = getattr(settings, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise _out_of_range(name, value, "a number of seconds above 0")


def _out_of_range(name: str, value: float, wanted: str) -> ConfigFault:
    none = ", or the word none" if name in _MAY_BE_NONE else ""
    return ConfigFault(f"{flag_of(name)} must be {wanted}{none}; it is {value}", key=name)


def _check_admin_token(settings: Settings) -> None:
    if settings.admin_token is None:
        return
    if settings.admin_token_file is not None:
        raise ConfigFault("give --admin-token or --admin-token-file, not both", key="admin_token")
    try:
        values.check_secret(settings.admin_token)
    except ValueError as fault:
        raise ConfigFault(f"--admin-token {fault}", key="admin_token") from None


def _check_api_keys(settings: Settings) -> None:
    try:
        tenants = values.tenants_by_key(settings.api_keys)
    except ValueError as fault:
        raise ConfigFault(f"--api-key: {fault}", key="api_keys") from None
    if settings.admin_token in tenants:
        raise ConfigFault(
            f"an API key of tenant {tenants[settings.admin_token]!r} is also the admin token; "
            "give them different values",
            key="api_keys",
        )


def _check_exposure(settings: Settings) -> None:
    has_token = settings.admin_token is not None or settings.admin_token_file is not None
    if has_token or values.is_loopback(settings.host):
        return
    raise ConfigFault(
        f"--host {settings.host} lets other machines in, so an admin token is needed: "
        "make one (openssl rand -hex 24 > admin.token) and give --admin-token-file admin.token, "
        "or listen on 127.0.0.1",
        key="host",
    )
