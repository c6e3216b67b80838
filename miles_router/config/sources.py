"""Where settings come from besides flags: `MILES_ROUTER_*` variables and `router.toml`.

Cyclopts calls `Sources` after it has read the flags; each source then fills what the ones before it
left open (flag > environment > file > default) and `Sources.origins` remembers which one did.
Invariant: a name that is no setting is refused, never skipped.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from cyclopts import Parameter, Token

from miles_router.config import Settings
from miles_router.config.checks import flag_of
from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cyclopts import App, Argument, ArgumentCollection

PREFIX = "MILES_ROUTER_"
# Read by other commands than `serve`, so it may be set wherever `serve` runs.
_OTHER_KEYS = ("config", "url")
# Two ways to give one thing: the source of higher rank that gives either decides both.
_RIVALS = {"admin_token": "admin_token_file", "admin_token_file": "admin_token"}

# Key (as in router.toml) of each setting, and the field it fills.
SETTING_KEYS: Mapping[str, str] = {
    flag_of(each.name).removeprefix("--").replace("-", "_"): each.name for each in fields(Settings)
}


@dataclass(slots=True)
class Sources:
    """A cyclopts config that adds the environment and `--config` to the flags.

    `origins` maps the name of each field that was given to where it was given.
    """

    origins: dict[str, str] = field(default_factory=dict)

    def __call__(self, app: App, commands: Sequence[str], arguments: ArgumentCollection) -> None:
        """Fill the arguments that no flag has filled."""
        del app, commands
        by_field = {_field_name(each): each for each in arguments if not each.children}
        for name, argument in by_field.items():
            if argument.tokens:
                self.origins[name] = f"flag {argument.tokens[0].keyword}"
        for key, (variable, text) in read_variables(os.environ).items():
            open_ = self._open_argument(by_field, SETTING_KEYS.get(key, key), "environment")
            if open_ is not None:
                texts = _split_commas(text) if _takes_many(open_) else [text]
                self._fill(open_, variable, texts, f"environment {variable}")
        if path := _config_path(by_field):
            for key, value in read_toml(path).items():
                open_ = self._open_argument(by_field, SETTING_KEYS[key], "file")
                if open_ is not None:
                    texts = _texts(path, key, value, many=_takes_many(open_))
                    self._fill(open_, key, texts, f"file {path}")

    def _open_argument(
        self, by_field: Mapping[str, Argument], name: str, source: str
    ) -> Argument | None:
        """The argument for the field `name`, unless a source of higher rank has decided it."""
        argument = by_field.get(name)
        rival = self.origins.get(_RIVALS.get(name, ""), source)
        if argument is None or argument.tokens or not rival.startswith(source):
            return None
        return argument

    def _fill(self, argument: Argument, key: str, texts: Sequence[str], origin: str) -> None:
        for index, text in enumerate(texts):
            argument.append(Token(keyword=key, value=text, source=origin, index=index))
        self.origins[_field_name(argument)] = origin


def read_variables(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Key to (variable, text) for every `MILES_ROUTER_*` variable that is not empty.

    Raises:
        ConfigFault: a variable that stands for no setting.
    """
    known = {PREFIX + key.upper(): key for key in (*SETTING_KEYS, *_OTHER_KEYS)}
    found: dict[str, tuple[str, str]] = {}
    for variable in sorted(each for each in environ if each.startswith(PREFIX)):
        if variable not in known:
            hint = _nearest(variable, known, PREFIX)
            raise ConfigFault(f"the environment variable {variable} is not a setting{hint}")
        if environ[variable]:
            found[known[variable]] = (variable, environ[variable])
    return found


def read_toml(path: Path) -> dict[str, object]:
    """The keys of a `router.toml`, in snake_case, with their values.

    Raises:
        ConfigFault: the file cannot be read, is not TOML, or has a key that is no setting.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigFault(
            f"--config {path} cannot be read: {error.strerror}; check the path", key="config"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigFault(f"--config {path} is not TOML: {error}", key="config") from None
    known: dict[str, object] = {}
    for written, value in table.items():
        key = written.replace("-", "_")
        if key not in SETTING_KEYS:
            raise ConfigFault(f"{path}: {written!r} is not a setting{_nearest(key, SETTING_KEYS)}")
        if key in known:
            raise ConfigFault(f"{path}: {key} is given twice, with - and with _; remove one")
        known[key] = value
    return known


def _own_name(alias: str) -> str | None:
    """The key of the setting that a flag of another router stands for, given as its key would be.

    Flags have such second names so that command lines need not change; there is one way to write a
    file.
    """
    for field_name, hint in get_type_hints(Settings, include_extras=True).items():
        for extra in getattr(hint, "__metadata__", ()):
            aliases = extra.alias or () if isinstance(extra, Parameter) else ()
            if alias in {each.removeprefix("--").replace("-", "_") for each in aliases}:
                return flag_of(field_name).removeprefix("--").replace("-", "_")
    return None


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    own = _own_name(name.removeprefix(prefix).lower())
    if own is not None:
        return f"; did you mean {prefix}{own.upper() if prefix else own}?"
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else "; remove it"


def _field_name(argument: Argument) -> str:
    return argument.keys[-1] if argument.keys else argument.field_info.name


def _config_path(by_field: Mapping[str, Argument]) -> Path | None:
    argument = by_field.get("config")
    return Path(argument.tokens[-1].value) if argument and argument.tokens else None


def _takes_many(argument: Argument) -> bool:
    return isinstance(argument.field_info.default, tuple)


def _split_commas(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _texts(path: Path, key: str, value: Any, *, many: bool) -> list[str]:
    """A TOML value as the words that a flag would carry."""
    if many and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, str | int | float):
        return [str(value)]
    wanted = "a text or a list of texts" if many else "a text, a number, true or false"
    raise ConfigFault(f"{path}: {key} must be {wanted}")
