"""The command line: which commands there are, and what a failure looks like.

Parsing only. Each command lives in a module that is imported when it is called, so that `--help`
and a mistyped flag answer at once. Invariant: no failure that a person can mend shows a traceback;
wrong usage ends with 2, a failure with 1.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cyclopts import (
    App,
    CycloptsError,
    Group,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from miles_router import __version__
from miles_router.cli.help import FoldedHelp
from miles_router.cli.tables import escape_what_is_lacking
from miles_router.config.sources import Sources
from miles_router.errors import ConfigFault, RouterError
from miles_router.whole_numbers import refuse_fractions

if TYPE_CHECKING:
    from collections.abc import Sequence

_RUN = Group("Run", sort_key=1)
_STEER = Group("Look at and steer a running router", sort_key=2)

_ABOUT = """Route reinforcement-learning rollouts to SGLang workers, keeping every token exact.

Start with: miles-router serve --worker http://127.0.0.1:10090

Each command explains itself: miles-router COMMAND --help
"""

_SETTINGS_RULE = """

Every flag can also stand in a TOML file (--config router.toml, port = 30001) or in the
environment (MILES_ROUTER_PORT=30001, lists separated by commas).
A flag beats the environment, the environment beats the file.
Flags with ... take several values: --worker URL URL, or --worker URL --worker URL."""

_HELP = {
    "serve": "Run a router until SIGTERM or SIGINT." + _SETTINGS_RULE,
    "tui": "Run a router in a terminal UI; with --attach URL, look at one that runs elsewhere."
    + _SETTINGS_RULE,
    "check-config": "Check settings without starting, and show where each comes from."
    + _SETTINGS_RULE,
    "sim": "Run a simulated SGLang worker, for trying out and testing.",
    "demo": "Run a router with simulated workers and requests, to see it at work.",
    "workers": "List the workers.",
    "add": "Add a worker, or bring back one that was removed or quarantined.",
    "remove": "Remove a worker: it gets nothing new, its running requests finish.",
    "drain": "Give a worker nothing new and let its running requests finish.",
    "undrain": "Let a draining or drained worker take requests again.",
    "quarantine": "Take a worker out until it is released.",
    "release": "Put a quarantined worker on probation, to come back once probes succeed.",
    "snapshot": "Print everything the router shows about itself, as JSON.",
}
_MODULES = {
    "serve": "serve",
    "tui": "tui",
    "check-config": "serve",
    "sim": "sim",
    "demo": "demo",
}


def build_app(sources: Sources, argv: Sequence[str] = ()) -> App:
    """The command line, with `sources` to fill what flags leave open.

    It may be made for `argv` alone: what loads long and is no part of its command is left out.
    """
    app = App(
        name="miles-router",
        help=_ABOUT,
        version=__version__,
        help_format="plaintext",
        help_formatter=FoldedHelp(),
        group_commands=Group("Other", sort_key=3),
    )
    for order, (name, text) in enumerate(_HELP.items()):
        module = _MODULES.get(name, "admin")
        reads_settings = module not in {"sim", "demo"}
        app.command(
            f"miles_router.cli.{module}:{name.replace('-', '_')}",
            name=name,
            help=text,
            group=_RUN if name in _MODULES else _STEER,
            sort_key=order,
            config=(sources, refuse_fractions) if reads_settings else refuse_fractions,
        )
    if not (argv and argv[0] in _HELP):  # 10 ms
        app.register_install_completion_command(help="Install completion for your shell.")
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` defaults to the process's own arguments."""
    escape_what_is_lacking(sys.stdout)
    sources = Sources()
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        command, bound, injected = build_app(sources, words).parse_args(
            words, print_error=False, exit_on_error=False
        )
        extra = {"origins": sources.origins} if "origins" in injected else {}
    except CycloptsError as error:
        return _complain(_usage_message(error), code=2)
    except ConfigFault as fault:
        return _complain(_with_origin(fault, sources), code=2)
    except ValueError as error:  # a settings class of `sim` or `demo` refused its values
        return _complain(str(error), code=2)
    try:
        result = command(*bound.args, **bound.kwargs, **extra)
    except ConfigFault as fault:
        return _complain(_with_origin(fault, sources), code=2)
    except RouterError as error:
        return _complain(error.message, code=1)
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def _complain(message: str, *, code: int) -> int:
    sys.stderr.write(f"miles-router: {message}\n")
    return code


def _usage_message(error: CycloptsError) -> str:
    """One line; what follows `=` in an unknown flag may be a secret and is left out."""
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        return _unknown_command(error.unused_tokens[0])
    message = " ".join(str(error).split())
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        message = f"unexpected argument {error.unused_tokens[0]!r}"
    if isinstance(error, UnknownOptionError):
        written = error.token.keyword or error.token.value
        message = message.replace(written, written.partition("=")[0])
    command = " ".join(("miles-router", *(error.command_chain or ())))
    return f"{message.rstrip('.')}; see {command} --help"


def _unknown_command(written: str) -> str:
    import difflib  # noqa: PLC0415  10 ms that only this needs

    # Cyclopts' own message imports every command to find the nearest name.
    close = difflib.get_close_matches(written, _HELP, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(_HELP)}"
    return f"unknown command {written!r}; {hint}"


def _with_origin(fault: ConfigFault, sources: Sources) -> str:
    """The message, and where the value stands if that is not a flag."""
    origin = sources.origins.get(fault.key or "", "flag")
    return fault.message if origin.startswith("flag") else f"{fault.message} [from {origin}]"
