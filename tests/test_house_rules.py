"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import miles_router

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "miles_router"
SOURCES = sorted(PACKAGE.rglob("*.py"))
CORE = sorted(path for path in (PACKAGE / "core").rglob("*.py") if path.name != "__init__.py")

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
# Words that say nothing about what is in a file.
EMPTY_WORDS = {"util", "utils", "helper", "helpers", "manager", "handler", "base", "common", "misc"}
# What the pure core must not even import by way of something else.
IMPURE = ("trio", "asyncio", "httpx", "quart", "quart_trio", "hypercorn", "httptools", "structlog")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from its `def`, without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 20
    assert len(CORE) > 10


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_FILE_LINES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    long = {f.name: length(f) for f in functions(path) if length(f) > MAX_FUNCTION_LINES}
    assert long == {}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_modules_say_what_they_are_for(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    if path.name == "__init__.py" and not source.strip():
        return
    assert ast.get_docstring(ast.parse(source)), "a module begins with a docstring"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_names_of_modules_say_something(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    words = {word for part in parts for word in part.split("_")}
    assert words & EMPTY_WORDS == set()


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_every_module_of_the_core_has_its_tests(path: Path) -> None:
    mirrored = ROOT / "tests" / path.parent.relative_to(PACKAGE) / f"test_{path.name}"
    assert mirrored.is_file(), f"expected {name_of(mirrored)}"


def test_the_version_is_a_string() -> None:
    assert isinstance(miles_router.__version__, str)
    assert miles_router.__version__[0].isdigit()


def loaded_after(*modules: str) -> set[str]:
    """The impure modules that a fresh interpreter holds after importing `modules`."""
    code = f"import sys\nfor name in {modules!r}: __import__(name)\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split()) & set(IMPURE)


def test_the_pool_pulls_in_no_loop_and_no_socket_library() -> None:
    assert loaded_after("miles_router.core.pool") == set()


def test_nothing_of_the_core_pulls_in_a_loop_or_a_socket_library() -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in CORE]
    assert loaded_after("miles_router.errors", *modules) == set()


def test_the_check_of_the_layers_sees_what_is_imported() -> None:
    assert loaded_after("asyncio") == {"asyncio"}
    assert [name for name in IMPURE if importlib.util.find_spec(name) is None] == []
