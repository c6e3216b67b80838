"""How help pages look: names that other routers use are folded into the description.

They are long, and would take the width from the text of all other flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

_FOREIGN = ("--sglang-", "--miles-", "--rollout-")


class FoldedHelp:
    """The usual help page with one name for each flag in the first column."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one panel."""
        from cyclopts.help import DefaultFormatter  # noqa: PLC0415  10 ms, and only here

        entries = [_folded(entry) for entry in panel.entries]
        DefaultFormatter()(console, options, panel.copy(entries=entries))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: object) -> None:
        """Print the line above the panels."""
        from cyclopts.help import DefaultFormatter  # noqa: PLC0415  as above

        DefaultFormatter().render_usage(console, options, usage)


def _folded(entry: HelpEntry) -> HelpEntry:
    from rich.text import Text  # noqa: PLC0415  only help pages need it

    own = tuple(name for name in entry.positive_names if not name.startswith(_FOREIGN))
    aliases = [name for name in entry.positive_names if name.startswith(_FOREIGN)]
    text = " ".join(_plain(entry.description).split())
    if aliases:
        text += f" (In miles: {', '.join(aliases)}.)"
    return entry.copy(positive_names=own, description=Text(text))


def _plain(description: object) -> str:
    primary = getattr(description, "primary_renderable", description)
    return str(primary or "")
