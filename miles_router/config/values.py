"""What one setting may look like: sizes, addresses, names, secrets.

Pure: text in, value or `ValueError` out. It must not know where the text came from (flag, file or
environment) nor which setting it fills; `checks.py` adds that. No message repeats a secret.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from miles_router.core.urlrules import AddressRules, parse_worker_url
from miles_router.errors import ConfigFault, UrlRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MASK = "********"

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b|b)?", re.IGNORECASE)
_UNIT_BYTES: dict[str, int] = {
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", start=1)},
}
_TENANT = re.compile(r"[A-Za-z0-9._-]+")
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*\.?")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*|\.[^\W\d]\w*)")


def parse_size(text: str) -> int:
    """Bytes of `1073741824`, `1GiB`, `512 MiB` or `1.5GB`."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a size; write bytes or a unit, such as 512MiB or 1GiB")
    number, unit = found.groups()
    unit_bytes = _UNIT_BYTES[(unit or "b").lower()]
    if "." not in number:
        return int(number) * unit_bytes
    if unit_bytes == 1:
        raise ValueError(f"{text!r} is not a size: there are no parts of a byte")
    return int(float(number) * unit_bytes)


def show_size(size_bytes: int) -> str:
    """The shortest exact way to write a size; `parse_size` reads it back."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        whole, rest = divmod(size_bytes, _UNIT_BYTES[unit.lower()])
        if whole and not rest:
            return f"{whole}{unit}"
    return str(size_bytes)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`: a literal loopback address, or `localhost`.

    Other names are not looked up: what they mean may change after the check.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_bind_host(text: str) -> None:
    """An address or a name, without scheme, port or brackets."""
    if text.startswith("["):
        raise ValueError(f"write {text.strip('[]')} without brackets")
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if not _HOST_NAME.fullmatch(text):
            raise ValueError(f"{text!r} is not an address or a host name") from None


def check_network(text: str) -> None:
    """A network such as `10.0.0.0/8` or `fd00::/8`, or a single address."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        try:
            meant = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(
                f"{text!r} is not a network; write one like 10.0.0.0/8 or fd00::/8"
            ) from None
        raise ValueError(f"{text!r} has host bits set; write {meant}") from None


def check_network_or_host(text: str) -> None:
    """What `check_network` takes, or a host name."""
    if "/" in text:
        check_network(text)
    try:
        AddressRules.parse((text,))
    except ConfigFault:
        raise ValueError(f"{text!r} is neither a network (10.0.0.0/8) nor a host name") from None


def check_worker_url(text: str) -> None:
    """The address of a worker, `http://HOST:PORT`."""
    try:
        parse_worker_url(text)
    except UrlRefused as refused:
        if refused.rule == "userinfo":
            raise ValueError(
                f"{refused}; give the worker its key with POST /workers "
                '{"url", "api_key"} instead'
            ) from None
        raise ValueError(f"{text!r}: {refused}") from None


def check_import_path(text: str) -> None:
    """`package.module:Class`, or `package.module.Class` as miles writes it."""
    if not _IMPORT_PATH.fullmatch(text):
        raise ValueError(f"{text!r} is not an import path; write package.module:Class")


def check_url_path(text: str) -> None:
    """A path on a worker, from its root."""
    if not text.startswith("/") or not _VISIBLE_ASCII.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a path; it begins with / and has no spaces, like /health"
        )


def check_secret(text: str) -> None:
    """A token or key that fits into an `Authorization` header."""
    if not text:
        raise ValueError("is empty; make one with: openssl rand -hex 24")
    if not _VISIBLE_ASCII.fullmatch(text):
        raise ValueError("has spaces or characters outside ASCII; a header cannot carry them")


def parse_api_key(entry: str) -> tuple[str, str]:
    """Tenant and key of a `TENANT=KEY` entry."""
    tenant, equals, key = entry.partition("=")
    if not equals or not _TENANT.fullmatch(tenant):
        raise ValueError("is not TENANT=KEY, the tenant of letters, digits, '.', '_' or '-'")
    try:
        check_secret(key)
    except ValueError as fault:
        raise ValueError(f"(tenant {tenant!r}) has a key that {fault}") from None
    return tenant, key


def tenants_by_key(entries: Iterable[str]) -> dict[str, str]:
    """API key to tenant, from `TENANT=KEY` entries; a tenant may have several keys.

    Raises:
        ValueError: an entry has another form, or two entries have the same key.
    """
    tenants: dict[str, str] = {}
    for number, entry in enumerate(entries, start=1):
        try:
            tenant, key = parse_api_key(entry)
        except ValueError as fault:
            raise ValueError(f"entry {number} {fault}") from None
        if key in tenants:
            raise ValueError(
                f"tenants {tenants[key]!r} and {tenant!r} have the same key; "
                "give each key once, to one tenant"
            )
        tenants[key] = tenant
    return tenants


def mask_api_keys(entries: Sequence[str]) -> tuple[str, ...]:
    """The entries with their keys hidden; the tenants stay readable."""
    return tuple(
        f"{tenant}={MASK}" if equals else MASK
        for tenant, equals, _ in (entry.partition("=") for entry in entries)
    )
