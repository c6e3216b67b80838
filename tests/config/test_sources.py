"""Flag, environment, file and default: which one counts, and what no source may hold."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from miles_router.cli import build_app
from miles_router.config import Settings
from miles_router.config.sources import SETTING_KEYS, Sources
from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_variables_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MILES_ROUTER_")]:
        monkeypatch.delenv(name)


def parse(*argv: str) -> tuple[Settings, dict[str, str]]:
    sources = Sources()
    _, bound, _ = build_app(sources).parse_args(
        ["serve", *argv], print_error=False, exit_on_error=False
    )
    return bound.arguments.get("settings", Settings()), sources.origins


def settings(*argv: str) -> Settings:
    return parse(*argv)[0]


def toml(tmp_path: Path, text: str) -> str:
    path = tmp_path / "router.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@dataclass(frozen=True)
class Way:
    """How to give one field by flag, variable and file, and what these three make of it."""

    name: str
    flag: list[str]
    variable: str
    line: str
    expected: tuple[Any, Any, Any]


WAYS = [
    Way("port", ["--port", "1"], "2", "port = 3", (1, 2, 3)),
    Way(
        "host",
        ["--host", "127.0.0.2"],
        "::1",
        "host = 'localhost'",
        ("127.0.0.2", "::1", "localhost"),
    ),
    Way(
        "workers",
        ["--worker", "http://a:1", "http://b:1", "--worker", "http://c:1"],
        "http://d:1, http://e:1",
        "worker = ['http://f:1', 'http://g:1']",
        (
            ("http://a:1", "http://b:1", "http://c:1"),
            ("http://d:1", "http://e:1"),
            ("http://f:1", "http://g:1"),
        ),
    ),
    Way(
        "policy",
        ["--policy", "random"],
        "round_robin",
        "policy = 'random'",
        ("random", "round_robin", "random"),
    ),
    Way(
        "api_keys",
        ["--api-key", "a=1"],
        "a=2,b=3",
        "api-key = 'a=4'",
        (("a=1",), ("a=2", "b=3"), ("a=4",)),
    ),
    Way(
        "health_interval_s",
        ["--health-interval-s", "1.5"],
        "2.5",
        "health_interval_s = 3",
        (1.5, 2.5, 3.0),
    ),
    Way(
        "idle_timeout_s",
        ["--idle-timeout-s", "7"],
        "none",
        "idle-timeout-s = 8",
        (7.0, None, 8.0),
    ),
    Way(
        "max_body_bytes",
        ["--max-body-bytes", "1KiB"],
        "2 KB",
        "max_body_bytes = 3",
        (1024, 2000, 3),
    ),
    Way(
        "max_inflight_total",
        ["--max-inflight-total", "none"],
        "5",
        "max_inflight_total = 6",
        (None, 5, 6),
    ),
    Way(
        "forward_authorization",
        ["--no-forward-authorization"],
        "true",
        "forward_authorization = true",
        (False, True, True),
    ),
    Way(
        "log_level",
        ["--log-level", "debug"],
        "error",
        "log-level = 'warning'",
        ("debug", "error", "warning"),
    ),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_flag_beats_environment_beats_file_beats_default(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = next(key for key, field in SETTING_KEYS.items() if field == way.name)
    config = ["--config", toml(tmp_path, way.line)]
    by_flag, by_variable, by_file = way.expected
    assert getattr(settings(), way.name) == getattr(Settings(), way.name)
    assert getattr(settings(*config), way.name) == by_file
    monkeypatch.setenv(f"MILES_ROUTER_{key.upper()}", way.variable)
    assert getattr(settings(*config), way.name) == by_variable
    assert getattr(settings(*config, *way.flag), way.name) == by_flag


def test_origins_say_where_each_value_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toml(tmp_path, "retries = 1\nport = 4\nqueue_size = 5")
    monkeypatch.setenv("MILES_ROUTER_PORT", "3")
    monkeypatch.setenv("MILES_ROUTER_CONFIG", path)
    _, origins = parse("--queue-size", "9")
    assert origins == {
        "port": "environment MILES_ROUTER_PORT",
        "queue_size": "flag --queue-size",
        "retries": f"file {path}",
        "config": "environment MILES_ROUTER_CONFIG",
    }


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_ROUTER_PORT", "")
    monkeypatch.setenv("MILES_ROUTER_WORKER", "")
    assert settings() == Settings()


def test_variables_of_other_commands_do_not_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILES_ROUTER_URL", "http://127.0.0.1:1")
    assert settings() == Settings()


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("MILES_ROUTER_PROT", "did you mean MILES_ROUTER_PORT?"),
        ("MILES_ROUTER_HEALTH_INTERVAL", "did you mean MILES_ROUTER_HEALTH_INTERVAL_S?"),
        ("MILES_ROUTER_WORKERS", "did you mean MILES_ROUTER_WORKER?"),
        ("MILES_ROUTER_port", "is not a setting"),
        ("MILES_ROUTER_SGLANG_ROUTER_PORT", "did you mean MILES_ROUTER_PORT?"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(
    variable: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "x")
    with pytest.raises(ConfigFault, match=re.escape(hint)) as caught:
        parse()
    assert variable in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "'prot' is not a setting; did you mean port?"),
        ("workers = []", "did you mean worker?"),
        ("health-interval = 1", "did you mean health_interval_s?"),
        ("sglang-router-port = 1", "'sglang-router-port' is not a setting; did you mean port?"),
        ("sglang_router_ip = 'x'", "did you mean host?"),
        ("miles-router-middleware-paths = []", "did you mean middleware?"),
        ("miles-router-timeout = 1", "did you mean first_byte_timeout_s?"),
        ("rollout-health-check-interval = 1", "did you mean health_interval_s?"),
        ("zzzzzz = 1", "'zzzzzz' is not a setting; remove it"),
        ("config = 'other.toml'", "'config' is not a setting"),
        ("idle-timeout-s = 1\nidle_timeout_s = 1", "idle_timeout_s is given twice"),
        ("port = [1]", "port must be a text, a number, true or false"),
        ("worker = [1]", "worker must be a text or a list of texts"),
        ("[port]\nvalue = 1", "port must be a text, a number"),
        ("port = ", "is not TOML"),
    ],
)
def test_what_a_file_must_not_hold_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = toml(tmp_path, text)
    with pytest.raises(ConfigFault, match=re.escape(message)) as caught:
        parse("--config", path)
    assert path in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match=re.escape("nowhere.toml cannot be read")) as caught:
        parse("--config", str(tmp_path / "nowhere.toml"))
    assert caught.value.key == "config"


def test_a_token_of_higher_rank_replaces_the_other_way_to_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ["--config", toml(tmp_path, "admin_token_file = 'from-file'")]
    monkeypatch.setenv("MILES_ROUTER_ADMIN_TOKEN", "from-environment")
    chosen = settings(*config)
    assert (chosen.admin_token, chosen.admin_token_file) == ("from-environment", None)
    chosen = settings(*config, "--admin-token-file", "from-flag")
    assert chosen.admin_token is None
    assert str(chosen.admin_token_file) == "from-flag"


def test_one_source_may_not_give_the_token_twice(tmp_path: Path) -> None:
    path = toml(tmp_path, "admin_token = 'a'\nadmin_token_file = 'b'")
    with pytest.raises(ConfigFault, match="not both"):
        parse("--config", path)
