"""The command line as a person meets it: errors, exit codes, aliases, what is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import miles_router
from miles_router.cli import main
from miles_router.config import Settings
from miles_router.errors import RouterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_variables_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MILES_ROUTER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `serve` handed on, instead of a running router."""
    seen: list[Settings] = []

    def run(settings: Settings) -> int:
        seen.append(settings)
        return 7

    _replace_app(monkeypatch, run)
    return seen


def _replace_app(monkeypatch: pytest.MonkeyPatch, run: Callable[[Settings], int]) -> None:
    app = ModuleType("miles_router.app")
    app.main = run  # type: ignore[attr-defined]  # a module made for this test
    monkeypatch.setitem(sys.modules, "miles_router.app", app)
    monkeypatch.setattr(miles_router, "app", app, raising=False)


def test_serve_hands_its_settings_on_and_returns_the_exit_code(
    served: list[Settings], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("hunter2\n", encoding="utf-8")
    assert main(["serve", "--port", "0", "--admin-token-file", str(token)]) == 7
    assert served == [Settings(port=0, admin_token="hunter2")]


def test_serve_without_flags_uses_the_defaults(served: list[Settings]) -> None:
    assert main(["serve"]) == 7
    assert served == [Settings()]


def test_a_failure_of_the_router_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Settings) -> int:
        raise RouterError("port 30000 is taken; choose another with --port")

    _replace_app(monkeypatch, run)
    assert main(["serve"]) == 1
    assert capsys.readouterr().err == (
        "miles-router: port 30000 is taken; choose another with --port\n"
    )


def test_an_interrupt_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Settings) -> int:
        raise KeyboardInterrupt

    _replace_app(monkeypatch, run)
    assert main(["serve"]) == 130
    assert capsys.readouterr().err == ""


ALIASES: list[tuple[list[str], dict[str, Any]]] = [
    (["--sglang-router-ip", "::1"], {"host": "::1"}),
    (["--sglang-router-port", "3000"], {"port": 3000}),
    (
        ["--miles-router-middleware-paths", "a.b.C", "d.e:F"],
        {"middleware": ("a.b.C", "d.e:F")},
    ),
    (["--miles-router-timeout", "90"], {"first_byte_timeout_s": 90.0}),
    (["--miles-router-max-connections", "64"], {"max_inflight_total": 64}),
    (["--miles-router-health-check-failure-threshold", "5"], {"health_failures": 5}),
    (["--rollout-health-check-interval", "20"], {"health_interval_s": 20.0}),
]


@pytest.mark.parametrize(("argv", "fields"), ALIASES, ids=[argv[0] for argv, _ in ALIASES])
def test_flags_of_miles_mean_what_they_meant(
    argv: list[str], fields: dict[str, Any], served: list[Settings]
) -> None:
    assert main(["serve", *argv]) == 7
    assert served == [Settings(**fields)]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["serve", "--prot", "1"], "Unknown option: --prot. Did you mean --port?"),
        (["serve", "--port", "x"], 'Invalid value for --port: unable to convert "x" into int'),
        (["serve", "--port", "1", "--port", "2"], "--port specified multiple times"),
        (["serve", "--worker"], "--worker requires at least 1 element"),
        (["serve", "--policy", "fast"], 'Choose from: "least_inflight", "round_robin", "random"'),
        (["serve", "--max-body-bytes", "lots"], "such as 512MiB or 1GiB"),
        (["serve", "stray"], "unexpected argument 'stray'"),
        (["serve", "--host", "0.0.0.0"], "an admin token is needed"),
        (["serve", "--retries", "-1"], "--retries must be at least 0; it is -1"),
        (["srve"], "unknown command 'srve'; did you mean serve?"),
        (["xyzzy"], "unknown command 'xyzzy'; there are: serve, tui, check-config,"),
        (["drain"], "parameter WORKER requires an argument"),
        (["add", "http://a:1", "--label", "x"], "Write labels as NAME=VALUE"),
    ],
)
def test_wrong_usage_is_one_line_without_a_traceback_and_exit_code_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str], served: list[Settings]
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("miles-router: ")
    assert err.count("\n") == 1
    assert (out, served) == ("", [])


@pytest.mark.parametrize(
    "argv",
    [
        ["serve", "--admin-tokn=hunter2"],
        ["serve", "--admin-tokn", "hunter2"],
        ["serve", "--api-key", "hunter2"],
        ["serve", "--admin-token", "hunter2 x"],
        ["serve", "--admin-token", "hunter2", "--port", "x"],
        ["serve", "--admin-token", "hunter2", "--admin-token-file", "x"],
        ["serve", "--admin-token", "hunter2", "--api-key", "a=hunter2"],
    ],
)
def test_no_error_repeats_a_secret(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "hunter2" not in capsys.readouterr().err


def test_a_refused_value_from_the_environment_is_traced_to_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILES_ROUTER_HEALTH_PATH", "health")
    assert main(["serve"]) == 2
    assert "[from environment MILES_ROUTER_HEALTH_PATH]" in capsys.readouterr().err


def test_a_value_of_the_wrong_kind_is_traced_to_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "router.toml"
    path.write_text("health_interval_s = 'often'", encoding="utf-8")
    assert main(["serve", "--config", str(path)]) == 2
    err = capsys.readouterr().err
    assert f"Invalid value for health_interval_s from file {path}" in err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == miles_router.__version__


@pytest.mark.loopback
@pytest.mark.parametrize("argv", [["--help"], ["serve", "--help"], ["check-config"], ["serv"]])
def test_looking_at_the_command_line_imports_no_server(argv: list[str]) -> None:
    script = (
        "import sys; from miles_router.cli import main; main(sys.argv[1:]);"
        "heavy = {'trio', 'httpx', 'hypercorn', 'quart', 'transformers', 'numpy', 'tokenizers'};"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "LOADED []" in done.stdout


@pytest.mark.loopback
def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "miles_router", "serve", "--prot", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "Did you mean --port?" in done.stderr


def test_completion_knows_commands_and_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    demo = ModuleType("miles_router.cli.demo")
    demo.demo = lambda: 0  # type: ignore[attr-defined]  # a module made for this test
    monkeypatch.setitem(sys.modules, "miles_router.cli.demo", demo)
    script = tmp_path / "completion.bash"
    assert main(["--install-completion", "--shell", "bash", "-o", str(script)]) == 0
    text = script.read_text(encoding="utf-8")
    assert "--health-interval-s" in text
    assert "quarantine" in text
