"""The language of `/`: `state:up err:>0 wt:!=128 some text`.

All terms must hold. A term is `field:value` or a word that is looked for in the row's text; a minus
in front turns it round (`-state:drained`), quotes keep spaces together.

- Text fields: `state:quar` contains, `state:=active` is, `state:!=active` is not. Case is ignored.
- Number fields: `err:0` is, and `!= > >= < <=`; units as the screen writes them: `p99:>2.5s`,
  `p99:>800ms`, `served:>10k`, `bytes:>4MiB`. What is not known matches no number.

Which fields there are is a matter of the table (`Fields`). This file knows no row.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

R = TypeVar("R")

_TERM = re.compile(
    r"""(?P<minus>-?)(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*):)?"""
    r"""(?P<operator>!=|>=|<=|=|>|<)?(?:"(?P<quoted>[^"]*)(?P<end>"?)|(?P<value>\S*))"""
)
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z%]*)", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{4,5}\Z")
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "": eq, "=": eq, "!=": ne, ">": gt, ">=": ge, "<": lt, "<=": le
}  # fmt: skip
_PLAIN = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_UNITS: dict[str, dict[str, float]] = {
    "number": _PLAIN,
    "share": {"": 1.0, "%": 0.01},
    "seconds": {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0},
    "bytes": {
        "": 1.0, "b": 1.0,
        "k": 2.0**10, "kb": 1e3, "kib": 2.0**10,
        "m": 2.0**20, "mb": 1e6, "mib": 2.0**20,
        "g": 2.0**30, "gb": 1e9, "gib": 2.0**30,
    },
}  # fmt: skip


class FilterError(Exception):
    """What was written is no filter; the message says what is wrong, for the screen."""


@dataclass(frozen=True)
class Field(Generic[R]):
    """What one name stands for. `unit` is "text", "number", "share", "seconds" or "bytes".

    `words` are values of a text field that stand for several: {"up": {"active", "suspect"}}.
    """

    name: str
    get: Callable[[R], str | float | None]
    unit: str = "text"
    aliases: tuple[str, ...] = ()
    words: Mapping[str, frozenset[str]] = field(default_factory=dict)
    help: str = ""


class Fields(Generic[R]):
    """The fields of one table and the text that plain words are looked for in."""

    def __init__(self, fields: Iterable[Field[R]], text: Callable[[R], str]) -> None:
        self.all = tuple(fields)
        self.text = text
        self._by_name = {name: each for each in self.all for name in (each.name, *each.aliases)}

    def find(self, name: str) -> Field[R] | None:
        """The field of this name or alias."""
        return self._by_name.get(name.lower())


@dataclass(frozen=True)
class Filter(Generic[R]):
    """A filter that was understood; `text` is what was written. An empty one matches all."""

    text: str = ""
    terms: tuple[Callable[[R], bool], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    def matches(self, row: R) -> bool:
        """Whether all terms hold for `row`."""
        return all(term(row) for term in self.terms)

    def keep(self, rows: Iterable[R]) -> list[R]:
        """The rows that match, in their order."""
        kept = list(rows)
        for term in self.terms:
            kept = [row for row in kept if term(row)]
        return kept


def parse(text: str, fields: Fields[R]) -> Filter[R]:
    """Understand `text` as a filter of rows that have `fields`.

    Raises:
        FilterError: it names no field, compares a text by size, or has no number where one belongs.
    """
    terms = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        found = _TERM.match(text, place)
        assert found is not None  # every part of the pattern may be empty
        place = found.end()
        terms.append(_term(found, fields))
    return Filter(text.strip(), tuple(terms))


def _term(found: re.Match[str], fields: Fields[R]) -> Callable[[R], bool]:
    if found["end"] == "":
        raise FilterError('a quote " is not closed')
    value = found["quoted"] if found["quoted"] is not None else found["value"]
    name, operator = found["name"], found["operator"] or ""
    of = None if name is None else fields.find(name)
    if of is not None:
        term = (
            _compare_text(of, operator, value)
            if of.unit == "text"
            else _compare(of, operator, value)
        )
    elif name is None or (not operator and (value.startswith("//") or _PORT.match(value))):
        term = _contains(fields.text, f"{name}:{value}" if name else operator + value)
    else:
        known = " ".join(each.name for each in fields.all)
        raise FilterError(f"there is no field '{name}': {known}")
    return (lambda row: not term(row)) if found["minus"] else term


def _contains(get: Callable[[R], str], word: str) -> Callable[[R], bool]:
    folded = word.casefold()
    return lambda row: folded in get(row).casefold()


def _compare_text(of: Field[R], operator: str, value: str) -> Callable[[R], bool]:
    if operator not in {"", "=", "!="}:
        raise FilterError(
            f"'{of.name}' is a text: {of.name}:part, {of.name}:=whole, {of.name}:!=whole"
        )
    folded = value.casefold()
    if not folded:
        raise FilterError(f"{of.name}: what? write {of.name}:value")
    get = of.get
    if (several := of.words.get(folded)) is not None:
        is_in = operator != "!="
        return lambda row: (get(row) in several) is is_in
    if operator == "":
        return lambda row: folded in str(get(row) or "").casefold()
    is_equal = operator == "="
    return lambda row: (str(get(row) or "").casefold() == folded) is is_equal


def _compare(of: Field[R], operator: str, value: str) -> Callable[[R], bool]:
    limit = _number(of, value)
    holds, get = _COMPARISONS[operator], of.get

    def term(row: R) -> bool:
        known = get(row)
        return known is not None and holds(float(known), limit)

    return term


def _number(of: Field[R], value: str) -> float:
    found = _NUMBER.fullmatch(value)
    units = _UNITS[of.unit]
    scale = None if found is None else units.get(found[2].lower())
    if found is None or scale is None:
        raise FilterError(
            f"'{of.name}' is a number: {of.name}:>10"
            + (
                ""
                if of.unit in {"number", "share"}
                else f", units: {' '.join(filter(None, units))}"
            )
        )
    number = float(found[1]) * scale
    if math.isinf(number):
        raise FilterError(f"the number after '{of.name}' is too large")
    return number
