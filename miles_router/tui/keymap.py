"""Names of keys, and whether the keys that a user chose can work.

Keys are named as Textual names them ("slash", "ctrl+s", "Z"); a user may also write the character
itself. Nothing here knows Textual or what the actions do.
"""

from __future__ import annotations

import string
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from miles_router.tui.actions import Action

# Textual takes the Unicode name of a character, except for these.
_NAMED_OTHERWISE = {
    "/": "slash",
    "\\": "backslash",
    "@": "at",
    "-": "minus",
    "+": "plus",
    "_": "underscore",
}


def _name_of(character: str) -> str:
    name = unicodedata.name(character).lower().replace("-", "_").replace(" ", "_")
    return _NAMED_OTHERWISE.get(character, name)


_CHARACTERS = {_name_of(mark): mark for mark in string.punctuation}
_SHOWN = {
    "escape": "Esc",
    "enter": "Enter",
    "tab": "Tab",
    "shift+tab": "Shift+Tab",
    "space": "Space",
    "up": "Up",
    "down": "Down",
    "left": "Left",
    "right": "Right",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "home": "Home",
    "end": "End",
    "insert": "Ins",
    "delete": "Del",
    "backspace": "Backspace",
}
_NAMES = frozenset(
    {
        *string.ascii_letters,
        *string.digits,
        *_CHARACTERS,
        *_SHOWN,
        *(f"f{number}" for number in range(1, 25)),
    }
)
# In a terminal these are the same bytes: Ctrl+I is Tab, Ctrl+M is Enter, Ctrl+H may be Backspace.
_SAME_BYTES = {"ctrl+i": "tab", "ctrl+m": "enter", "ctrl+h": "backspace"}


def normal_key(text: str) -> str:
    """The name of one key, of what a user wrote: `/`, `slash`, `^s` and `Ctrl+S` are understood.

    Raises:
        ValueError: there is no such key; the message says so.
    """
    given = text.strip()
    if len(given) == 2 and given[0] == "^" and given[1] in string.ascii_letters:
        given = f"ctrl+{given[1]}"
    if len(given) == 1 and given in string.punctuation:
        return _name_of(given)
    *modifiers, name = given.split("+")
    wanted = [one.lower() for one in modifiers]
    name = name.lower() if len(name) > 1 or wanted else name
    key = "+".join((*wanted, name))
    if name not in _NAMES or not set(wanted) <= {"ctrl", "shift", "alt"} or key in _SAME_BYTES:
        hint = f" (a terminal sends {_SAME_BYTES[key]} for it)" if key in _SAME_BYTES else ""
        raise ValueError(f"there is no key {text!r}{hint}: write a letter, F5, ctrl+g or slash")
    return key


def shown_key(key: str) -> str:
    """How a key is shown: `/`, `^s`, `F1`, `Esc`."""
    if key in _CHARACTERS:
        return _CHARACTERS[key]
    if key in _SHOWN:
        return _SHOWN[key]
    modifier, plus, name = key.partition("+")
    if modifier == "ctrl" and plus:
        return f"^{shown_key(name)}"
    return key.upper() if len(key) > 1 and key[0] == "f" and key[1:].isdigit() else key


def shown_keys(keys: str) -> str:
    """How several keys, with commas between them, are shown: "? F1"."""
    return " ".join(shown_key(key) for key in keys.split(","))


def normal_keymap(keymap: Mapping[str, str]) -> dict[str, str]:
    """`keymap` (id of an action: its keys, with commas between them) in names of keys.

    Raises:
        ValueError: a key does not exist.
    """
    return {
        name: ",".join(normal_key(key) for key in keys.split(",")) for name, keys in keymap.items()
    }


def faults_of(keymap: Mapping[str, str], actions: Iterable[Action]) -> tuple[str, ...]:
    """What is wrong with a user's keys, a sentence each; nothing if they can be used."""
    return tuple(_faults(keymap, tuple(actions)))


def _faults(keymap: Mapping[str, str], actions: tuple[Action, ...]) -> Iterator[str]:
    known = {action.id for action in actions}
    taken: list[tuple[str, Action]] = []
    for name in keymap:
        if name not in known:
            yield f"there is no action {name!r}; `?` in the UI lists them"
    for action in actions:
        try:
            keys = normal_keymap({action.id: keymap.get(action.id, action.key)})[action.id]
        except ValueError as error:
            yield f"{action.id}: {error}"
            continue
        taken.extend((key, action) for key in dict.fromkeys(keys.split(",")))
    for place, (key, action) in enumerate(taken):
        for other_key, other in taken[:place]:
            if key == other_key and other is not action and _meet(action, other):
                yield f"the key {shown_key(key)} is both {other.id} and {action.id}"


def _meet(one: Action, other: Action) -> bool:
    """Whether some place knows both."""
    everywhere = any(scope.is_everywhere for scope in (*one.scopes, *other.scopes))
    return everywhere or not set(one.scopes).isdisjoint(other.scopes)


def without_ctrl_c(keys: str) -> str:
    """`keys`, names with commas between them, less the one that is bound for itself."""
    return ",".join(key for key in keys.split(",") if key != "ctrl+c")
