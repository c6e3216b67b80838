"""The command that shows the terminal UI: of a router in this process, or of one elsewhere."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  the command line reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from miles_router.cli.serve import Chosen, ConfigFile, Origins  # noqa: TC001  as above
from miles_router.config import Settings
from miles_router.config.checks import flag_of
from miles_router.config.secrets import read_secrets
from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from miles_router.tui.look import Look
    from miles_router.tui.terminal import Terminal

_UI = Group("Terminal UI", sort_key=0)
_WITH_ATTACH = frozenset({"admin_token", "admin_token_file"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be chosen about the UI itself."""

    attach: Annotated[str | None, Parameter(group=_UI, metavar="URL", show_default="none")] = None
    """Show the router that listens at URL instead of running one; of the settings below, only
    --admin-token and --admin-token-file go with it."""
    read_only: Annotated[bool, Parameter(group=_UI, negative="", show_default="off")] = False
    """Show everything, change nothing: the keys that change something are not there."""
    ascii: Annotated[bool, Parameter(group=_UI, negative="", show_default="off")] = False
    """Draw with ASCII characters only."""
    keys: Annotated[
        tuple[str, ...],
        Parameter(
            name="--key",
            group=_UI,
            metavar="ACTION=KEY...",
            show_default="none",
            consume_multiple=(1, None),
            negative="",
        ),
    ] = ()
    """Other keys for actions, such as drain=D or quit=q,f10; ? in the UI lists the actions."""
    log_file: Annotated[Path | None, Parameter(group=_UI, show_default="none")] = None
    """File that the log is appended to while the UI is up; none: miles-router/tui-PORT.log (or
    tui-PORT-2.log, ... while other UIs write to that) under $XDG_STATE_HOME or ~/.local/state, or
    standard error where that is no terminal."""
    on_ui_crash: Annotated[Literal["serve", "exit"], Parameter(group=_UI)] = "serve"
    """What the router does if the UI fails: goes on serving without it, or ends as after SIGTERM.
    """


_DEFAULTS = Settings()
_OPTIONS = Options()


def tui(
    *,
    config: ConfigFile = None,
    options: Annotated[Options, Parameter(name="*")] = _OPTIONS,
    settings: Chosen = _DEFAULTS,
    origins: Origins,
) -> int:
    """Run a router and show it, or show one that runs elsewhere."""
    del config  # read before the settings were made
    if options.attach is not None:
        _check_goes_with_attach(origins)
    settings = read_secrets(settings)
    from miles_router.tui.look import Look  # noqa: PLC0415  keeps --help fast
    from miles_router.tui.terminal import open_terminal  # noqa: PLC0415

    look = Look(
        is_read_only=options.read_only,
        uses_ascii=options.ascii,
        keymap=read_keys(options.keys),
        log_file=options.log_file,
        on_crash=options.on_ui_crash,
    )
    terminal = open_terminal()
    # A quarter of the time until the first frame would go into collecting what is only being
    # loaded. `screen_run` turns it on again.
    gc.disable()
    try:
        if options.attach is not None:
            return _attach(options.attach, settings.admin_token, look, terminal)
        from miles_router.embed import run_with_screens  # noqa: PLC0415

        return run_with_screens(settings, terminal, look)
    finally:
        gc.enable()
        terminal.close()


def read_keys(entries: Sequence[str]) -> dict[str, str]:
    """Id of an action to its keys, of `ACTION=KEY[,KEY]` entries.

    Raises:
        ConfigFault: an entry has another form, or the keys cannot work together.
    """
    from miles_router.tui.actions import check_keymap  # noqa: PLC0415  keeps --help fast

    keymap: dict[str, str] = {}
    for entry in entries:
        action, equals, keys = entry.partition("=")
        if not (action and equals and keys):
            raise ConfigFault(f"--key {entry}: write ACTION=KEY, such as drain=D", key="keys")
        keymap[action] = keys
    for fault in check_keymap(keymap):
        raise ConfigFault(f"--key: {fault}", key="keys")
    return keymap


def _check_goes_with_attach(origins: Mapping[str, str]) -> None:
    """Refuse flags of a router that would not be there; variables and files stay unused."""
    own = {"attach", "read_only", "ascii", "keys", "log_file", "on_ui_crash"}
    for name, origin in origins.items():
        if not origin.startswith("flag") or name in own | _WITH_ATTACH:
            continue
        flag = flag_of(name) if name in Settings.__dataclass_fields__ else f"--{name}"
        raise ConfigFault(
            f"{flag} is a setting of a router that starts here and does not go with --attach; "
            "leave one of them out"
        )
    if "on_ui_crash" in origins:
        raise ConfigFault(
            "--on-ui-crash is about a router that runs here and does not go with --attach; "
            "leave one of them out"
        )


def _attach(url: str, token: str | None, look: Look, terminal: Terminal) -> int:
    from miles_router.tui.host import place_for, run_attached  # noqa: PLC0415  keeps --help fast
    from miles_router.tui.http_source import HttpSource  # noqa: PLC0415

    try:
        source = HttpSource(url, token=token, is_read_only=look.is_read_only)
    except ValueError as error:
        raise ConfigFault(f"--attach {url}: {error}", key="attach") from None
    place = place_for(terminal, look.log_file, "tui-attached")
    return run_attached(lambda: look.app_for(source, needs_token=token is not None), place)
