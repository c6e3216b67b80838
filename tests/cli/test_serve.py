"""`check-config`: the settings that would run, and where each comes from."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from miles_router.cli import main
from miles_router.config.sources import SETTING_KEYS

EXAMPLE = Path(__file__).parents[2] / "examples" / "router.toml"


@pytest.fixture(autouse=True)
def _no_variables_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MILES_ROUTER_")]:
        monkeypatch.delenv(name)


def checked(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, tuple[str, str]]:
    """Key to value and origin, as printed."""
    assert main(["check-config", *argv]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["SETTING", "VALUE", "FROM"]
    rows = [re.split(r"\s{2,}", line) for line in lines]
    return {key: (value, origin) for key, value, origin in rows}


def test_every_setting_is_shown_with_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "router.toml"
    path.write_text("retries = 4\nmax_body_bytes = '2GiB'", encoding="utf-8")
    monkeypatch.setenv("MILES_ROUTER_WORKER", "http://a:1,http://b:2")
    shown = checked(capsys, "--config", str(path), "--port", "0", "--forward-authorization")
    assert shown["retries"] == ("4", f"file {path}")
    assert shown["max_body_bytes"] == ("2GiB", f"file {path}")
    assert shown["worker"] == ("http://a:1, http://b:2", "environment MILES_ROUTER_WORKER")
    assert shown["port"] == ("0", "flag --port")
    assert shown["forward_authorization"] == ("on", "flag --forward-authorization")
    assert shown["idle_timeout_s"] == ("none", "default")
    assert list(shown) == list(SETTING_KEYS)


def test_secrets_are_masked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = tmp_path / "keys"
    keys.write_text("blue=hunter3", encoding="utf-8")
    argv = ["--admin-token", "hunter2", "--api-key", "red=hunter4", "--api-keys-file", str(keys)]
    assert main(["check-config", *argv]) == 0
    printed = capsys.readouterr()
    assert "hunter" not in printed.out + printed.err
    assert "red=********" in printed.out


def test_an_unusable_secret_file_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", "--admin-token-file", str(tmp_path / "nowhere")]) == 2
    assert "--admin-token-file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://8.8.8.8:30000", "--allow-worker 8.8.8.8"),
        ("http://169.254.169.254", "metadata"),
        ("http://[fe80::1]:80", "link-local"),
        ("http://0.0.0.0:1", "unspecified"),
        ("http://0x08080808:1", "8.8.8.8"),
    ],
)
def test_a_worker_that_serve_refuses_is_refused(
    url: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", "--worker", "http://127.0.0.1:1", url]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"miles-router: --worker {url}: ")
    assert word in err


def test_a_worker_that_is_allowed_is_not_refused(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--worker", "http://8.8.8.8:1", "--allow-worker", "8.8.8.0/24"]
    assert checked(capsys, *argv)["worker"][0] == "http://8.8.8.8:1"


@pytest.mark.parametrize(
    "path", ["tests.plugins.exiting_module:X", "tests.plugins.samples:async_function"]
)
def test_a_middleware_that_serve_refuses_is_refused(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", "--middleware", path]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"miles-router: --middleware {path}: ")


def test_the_example_file_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    shown = checked(capsys, "--config", str(EXAMPLE))
    assert shown["worker"][0] == "http://127.0.0.1:10090, http://127.0.0.1:10091"
    assert shown["first_byte_timeout_s"] == ("none", f"file {EXAMPLE}")
