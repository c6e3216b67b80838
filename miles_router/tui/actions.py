"""Everything the terminal UI can be told, in one registry.

Bindings, footer, help, command palette and README's table are made of `ACTIONS`, so that they
cannot disagree. Which action is available at a moment is decided in `availability`, what a user's
own keys may be in `keymap`. Nothing here knows Textual, the router or how an action is carried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from miles_router.tui.availability import Selected, why_not
from miles_router.tui.keymap import faults_of, shown_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "ACTIONS",
    "Action",
    "HelpRow",
    "Scope",
    "Selected",
    "actions_in",
    "by_id",
    "check_keymap",
    "footer",
    "help_rows",
    "readme_table",
    "why_not",
]


class Scope(StrEnum):
    """Where a key means something; the value is the heading in the help."""

    GLOBAL = "Everywhere"
    LISTS = "Lists"
    WORKERS = "Workers"
    WORKER = "One worker"
    REQUESTS = "Requests"
    CACHE = "Token cache"
    EVENTS = "Events"
    LOG = "Log"
    TOTALS = "Totals"

    @property
    def is_everywhere(self) -> bool:
        """Whether its keys mean the same wherever the cursor is."""
        return self in {Scope.GLOBAL, Scope.LISTS}


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a key does.

    `key` holds Textual's names of one or more keys with commas between them; `label` is the word in
    the footer; `changes` tells whether the router, not only the display, is different afterwards.
    """

    id: str
    key: str
    label: str
    help: str
    scopes: tuple[Scope, ...] = (Scope.GLOBAL,)
    changes: bool = False

    @property
    def scope(self) -> Scope:
        """Under which heading the help lists it."""
        return self.scopes[0]

    @property
    def keys(self) -> tuple[str, ...]:
        """The default keys, the one that is shown first."""
        return tuple(self.key.split(","))


_WORKER = (Scope.WORKERS, Scope.WORKER)
_REQUEST = (Scope.REQUESTS, Scope.WORKER)
_TABLES = (Scope.WORKERS, Scope.REQUESTS)
_DETAILED = (*_TABLES, Scope.EVENTS, Scope.LOG, Scope.WORKER)

ACTIONS: tuple[Action, ...] = (
    Action("help", "question_mark,f1", "Help", "Shows every key and what it does."),
    Action(
        "quit",
        "q,ctrl+c",
        "Quit",
        "Ends this UI. A router in the same process stops too, and asks first if requests run; "
        "one that this UI is attached to goes on.",
    ),
    Action(
        "back", "escape", "Back", "Closes what is in front (question, details, filter) unchanged."
    ),
    Action("view_workers", "1", "Workers", "Shows the workers, one row each."),
    Action("view_requests", "2", "Requests", "Shows the running requests, the longest first."),
    Action("view_cache", "3", "Cache", "Shows what the token cache holds and what it refused."),
    Action("view_events", "4", "Events", "Shows what happened to the pool, the newest last."),
    Action("view_log", "5,l", "Log", "Shows the router's log, the newest line last."),
    Action("view_totals", "6", "Totals", "Shows sums over all workers, and their plots."),
    Action(
        "next_view", "tab", "Next view", "Goes to the next view; in one worker, to its next part."
    ),
    Action("previous_view", "shift+tab", "Previous view", "Goes to the view, or part, before."),
    Action("up", "up", "Up", "Moves the cursor up a row.", (Scope.LISTS,)),
    Action("down", "down", "Down", "Moves the cursor down a row.", (Scope.LISTS,)),
    Action("page_up", "pageup", "Page up", "Moves it up a page.", (Scope.LISTS,)),
    Action("page_down", "pagedown", "Page down", "Moves it down a page.", (Scope.LISTS,)),
    Action("first", "home", "First", "Moves it to the first row.", (Scope.LISTS,)),
    Action("last", "end", "Last", "Moves it to the last row.", (Scope.LISTS,)),
    Action(
        "filter",
        "slash",
        "Filter",
        "Shows only the rows that match, such as state:active err:>0 or a part of a name; "
        "an empty filter shows all.",
        (Scope.WORKERS, Scope.REQUESTS, Scope.EVENTS, Scope.LOG),
    ),
    Action("sort", "s", "Sort", "Sorts by the next column.", _TABLES),
    Action("reverse", "r", "Reverse", "Turns the order of the rows round.", _TABLES),
    Action("pause", "p", "Pause", "Stops the display, not the router; again: goes on."),
    Action("faster", "plus,equals_sign", "Faster", "Updates the display more often, up to 10/s."),
    Action("slower", "minus", "Slower", "Updates the display less often, down to 1/s."),
    Action("theme", "t", "Theme", "Takes the next colour theme."),
    Action("screenshot", "ctrl+s", "Screenshot", "Saves the screen as an SVG file and says where."),
    Action("palette", "ctrl+p", "Palette", "Finds an action by its name."),
    Action("reconnect", "R", "Reconnect", "Tries a lost connection now instead of in a while."),
    Action(
        "details",
        "enter",
        "Details",
        "Opens the worker under the cursor, or the one that runs the request under it: its "
        "history, and its running requests by age. An event or a line of the log is shown whole.",
        _DETAILED,
    ),
    Action(
        "copy",
        "y",
        "Copy",
        "Copies the worker's URL, or the request's id, to the clipboard (over ssh too, where the "
        "terminal allows it).",
        (Scope.WORKERS, Scope.REQUESTS, Scope.WORKER),
    ),
    Action(
        "drain",
        "d",
        "Drain",
        "Gives the worker no new requests; its running ones finish. Undrain takes it back.",
        _WORKER,
        changes=True,
    ),
    Action(
        "undrain",
        "u",
        "Undrain",
        "Lets a draining or drained worker take requests again.",
        _WORKER,
        changes=True,
    ),
    Action(
        "quarantine",
        "z",
        "Quarantine",
        "Takes the worker out until it is released, also if its health checks pass; asks first.",
        _WORKER,
        changes=True,
    ),
    Action(
        "release",
        "Z",
        "Release",
        "Lets a quarantined worker back once its health checks pass, and a stale one serve with "
        "the weights that it has.",
        _WORKER,
        changes=True,
    ),
    Action("probe", "c", "Check", "Checks the worker's health now.", _WORKER, changes=True),
    Action(
        "add",
        "a",
        "Add",
        "Asks for a URL and registers the worker there.",
        (Scope.WORKERS,),
        changes=True,
    ),
    Action(
        "remove",
        "x",
        "Remove",
        "Forgets the worker; asks first, also whether running requests may finish.",
        _WORKER,
        changes=True,
    ),
    Action("abort", "k", "Abort", "Ends the request; asks first.", _REQUEST, changes=True),
    Action(
        "sweep",
        "g",
        "GC",
        "Runs the token cache's garbage collection now: what its limits allow stays.",
        (Scope.CACHE,),
        changes=True,
    ),
    Action(
        "clear",
        "C",
        "Clear",
        "Deletes every trajectory of the tenant under the cursor; asks first.",
        (Scope.CACHE,),
        changes=True,
    ),
)

_BY_ID = {action.id: action for action in ACTIONS}
# A narrow footer is cut at its right end: the way out and the help come first. What has a place of
# its own on the screen (the tabs), or is seldom needed, is left to the help.
_FOOTER_FIRST = ("help", "quit")
_NOT_IN_FOOTER = frozenset(
    {
        *(action.id for action in ACTIONS if action.id.startswith("view_")),
        *("next_view", "previous_view", "back", "faster", "slower", "theme", "screenshot"),
        *("reconnect", "reverse"),
    }
)


@dataclass(frozen=True, slots=True)
class HelpRow:
    """One line of the help: a heading (`keys` and `help` are empty), or an action."""

    keys: str
    label: str
    help: str
    id: str = ""


def by_id(name: str) -> Action:
    """The action with this id.

    Raises:
        KeyError: there is none.
    """
    return _BY_ID[name]


def actions_in(scope: Scope) -> tuple[Action, ...]:
    """What has a key in `scope`, without what has one everywhere (unless that is asked for)."""
    return tuple(action for action in ACTIONS if scope in action.scopes)


def check_keymap(keymap: Mapping[str, str]) -> tuple[str, ...]:
    """What is wrong with a user's keys (by id of action), a sentence each; nothing: they work."""
    return faults_of(keymap, ACTIONS)


def footer(scope: Scope, *, is_read_only: bool = False) -> tuple[Action, ...]:
    """The actions for the footer of `scope`, the most needed first."""
    first = [by_id(name) for name in _FOOTER_FIRST]
    here = [] if scope is Scope.GLOBAL else actions_in(scope)
    wanted = [*here, *actions_in(Scope.GLOBAL)]
    rest = [one for one in wanted if one.id not in _NOT_IN_FOOTER and one not in first]
    return tuple(one for one in (*first, *rest) if not (is_read_only and one.changes))


def help_rows(
    keymap: Mapping[str, str] | None = None, *, first: Scope = Scope.GLOBAL
) -> tuple[HelpRow, ...]:
    """The help: a heading per scope with its actions, that of `first` on top.

    An action with keys in several scopes stands under the first of these that is listed.
    """
    return tuple(_rows(keymap or {}, first))


def _rows(keymap: Mapping[str, str], first: Scope) -> Iterator[HelpRow]:
    told: set[str] = set()
    for scope in (first, *(one for one in Scope if one is not first)):
        actions = [one for one in actions_in(scope) if one.id not in told]
        if actions:
            yield HelpRow("", scope.value, "")
        for one in actions:
            told.add(one.id)
            yield HelpRow(shown_keys(keymap.get(one.id, one.key)), one.label, one.help, one.id)


def readme_table() -> str:
    """All keys as a Markdown table, the id that a keymap names among the columns."""
    lines = ["| where | key | does | id |", "| --- | --- | --- | --- |"]
    heading = ""
    for row in help_rows():
        if not row.id:
            heading = row.label
            continue
        keys = " ".join(f"`{key}`" for key in row.keys.split())
        lines.append(f"| {heading} | {keys} | **{row.label}.** {row.help} | `{row.id}` |")
        heading = ""
    return "\n".join(lines) + "\n"
