"""Secrets that settings name by file: the admin token and the API keys.

Reads files; `Settings` itself never does. No message repeats what stands in them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from miles_router.config import values
from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from pathlib import Path

    from miles_router.config import Settings


def read_secrets(settings: Settings) -> Settings:
    """`settings` with the content of its secret files in place of their names.

    Raises:
        ConfigFault: a file that cannot be read, is empty, or holds what no header can carry.
    """
    if settings.admin_token_file is not None:
        token = read_token(settings.admin_token_file)
        settings = replace(settings, admin_token=token, admin_token_file=None)
    if settings.api_keys_file is not None:
        keys = (*settings.api_keys, *_read_api_keys(settings.api_keys_file))
        settings = replace(settings, api_keys=keys, api_keys_file=None)
    return settings


def read_token(path: Path) -> str:
    """The token in the file that `--admin-token-file` names."""
    token = _read("--admin-token-file", path).strip()
    try:
        values.check_secret(token)
    except ValueError as fault:
        raise ConfigFault(f"--admin-token-file {path} {fault}", key="admin_token_file") from None
    return token


def _read_api_keys(path: Path) -> list[str]:
    entries = []
    for number, line in enumerate(_read("--api-keys-file", path).splitlines(), start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        try:
            values.parse_api_key(entry)
        except ValueError as fault:
            raise ConfigFault(
                f"--api-keys-file {path}: line {number} {fault}", key="api_keys_file"
            ) from None
        entries.append(entry)
    if not entries:
        raise ConfigFault(
            f"--api-keys-file {path} has no TENANT=KEY line; add one or drop the flag",
            key="api_keys_file",
        )
    return entries


def _read(flag: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        key = flag.removeprefix("--").replace("-", "_")
        raise ConfigFault(f"{flag} {path} cannot be read: {reason}", key=key) from None
