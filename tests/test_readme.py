"""README tells the truth: its tables are made from the code, its commands exist.

Run with UPDATE_README=1 to write the tables anew.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from miles_router import config
from miles_router.cli import build_app
from miles_router.config import Settings
from miles_router.config.checks import flag_of
from miles_router.config.sources import Sources
from miles_router.config.values import show_size
from miles_router.errors import RouterError
from miles_router.tui.actions import readme_table

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FLAGS = "<!-- flags: made from miles_router/config -->\n", "<!-- flags end -->\n"
KEYS = "<!-- keys: made from miles_router/tui/actions.py -->\n", "<!-- keys end -->\n"


def _texts() -> dict[str, str]:
    """The help under each field of `Settings`, by field."""
    tree = ast.parse(inspect.getsource(config))
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Settings").body
    found = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def _default(name: str, value: object) -> str:
    if name.endswith("_bytes"):
        assert isinstance(value, int)
        return show_size(value)
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table() -> str:
    texts = _texts()
    rows = ["| flag | default | meaning |", "|---|---|---|"]
    for field in fields(Settings):
        text = texts[field.name].replace("|", "\\|")
        rows.append(f"| `{flag_of(field.name)}` | {_default(field.name, field.default)} | {text} |")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("marks", "make"), [(FLAGS, _table), (KEYS, readme_table)], ids=["flags", "keys"]
)
def test_tables_are_what_the_code_says(marks: tuple[str, str], make: Callable[[], str]) -> None:
    path = ROOT / "README.md"
    begin, end = marks
    assert README.count(begin) == README.count(end) == 1
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    wanted = before + begin + make() + end + after
    if os.environ.get("UPDATE_README"):
        path.write_text(wanted)
    assert path.read_text() == wanted


def _every_code(kind: type[RouterError]) -> set[str]:
    return {kind.code}.union(*(_every_code(sub) for sub in kind.__subclasses__()))


def test_every_error_code_a_client_can_see_is_explained() -> None:
    internal = {"unavailable", "config"}
    missing = {code for code in _every_code(RouterError) - internal if f"`{code}`" not in README}
    assert missing == set()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"miles-router ([a-z][a-z-]+)", README))))
def test_every_command_in_readme_exists(command: str) -> None:
    assert command in set(build_app(Sources()))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([a-z_]+/[^)]+)\)", README))))
def test_every_file_that_readme_links_exists(path: str) -> None:
    assert (ROOT / path).exists()
