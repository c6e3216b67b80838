"""The commands that take the settings of a router: run one, or only look at what would run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from miles_router.cli.tables import write_table
from miles_router.config import Settings
from miles_router.config.secrets import read_secrets
from miles_router.config.sources import SETTING_KEYS
from miles_router.config.values import show_size

if TYPE_CHECKING:
    from collections.abc import Mapping

Chosen = Annotated[Settings, Parameter(name="*")]
ConfigFile = Annotated[
    Path | None,
    Parameter(
        group=Group("Settings file", sort_key=0),
        help="TOML file with any of the settings below, named as the flags are: port = 30001",
        show_default="none",
    ),
]
Origins = Annotated[dict[str, str], Parameter(parse=False)]

_DEFAULTS = Settings()


def serve(*, config: ConfigFile = None, settings: Chosen = _DEFAULTS) -> int:
    """Run a router until it is told to stop."""
    del config  # read before the settings were made
    settings = read_secrets(settings)
    from miles_router import app  # noqa: PLC0415  keeps --help free of the servers' imports

    return app.main(settings)


def check_config(
    *, config: ConfigFile = None, settings: Chosen = _DEFAULTS, origins: Origins
) -> int:
    """Print the settings that `serve` would run with, and where each comes from."""
    del config
    read_secrets(settings)
    from miles_router.plugins.loader import load  # noqa: PLC0415  keeps --help fast

    for path in settings.middleware:
        load(path)
    write_table(("SETTING", "VALUE", "FROM"), setting_rows(settings, origins))
    return 0


def setting_rows(settings: Settings, origins: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Key, value and origin of each setting, secrets hidden."""
    shown = settings.masked()
    for name, value in shown.items():
        if name.endswith("_bytes"):
            shown[name] = show_size(value)
    return [
        (key, _show(shown[name]), origins.get(name, "default"))
        for key, name in SETTING_KEYS.items()
    ]


def _show(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
