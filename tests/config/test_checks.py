"""Every rule of the settings, with the message that a person gets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from miles_router.config import RADIX_TREE_MIDDLEWARE, Settings
from miles_router.config.checks import flag_of
from miles_router.errors import ConfigFault

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"port": -1}, "port", "--port must be 0 to 65535; it is -1"),
    ({"port": 65536}, "port", "--port must be 0 to 65535"),
    ({"host": "[::1]"}, "host", "write ::1 without brackets"),
    ({"host": "http://x"}, "host", "not an address or a host name"),
    ({"host": ""}, "host", "not an address or a host name"),
    ({"shutdown_grace_s": -1.0}, "shutdown_grace_s", "--shutdown-grace-s must be at least 0"),
    ({"workers": ("h:1",)}, "workers", "--worker: 'h:1': a worker URL starts with http://"),
    ({"workers": ("http://u:pw@h:1",)}, "workers", "give the worker its key with POST /workers"),
    ({"allow_workers": ("a b",)}, "allow_workers", "neither a network (10.0.0.0/8) nor a host"),
    ({"allow_workers": ("10.0.0.1/8",)}, "allow_workers", "host bits set; write 10.0.0.0/8"),
    ({"open_registration": ("gpu-1",)}, "open_registration", "not a network; write one like"),
    ({"open_registration": ("10.0.0.1/8",)}, "open_registration", "write 10.0.0.0/8"),
    ({"admin_token": ""}, "admin_token", "--admin-token is empty; make one with: openssl"),
    ({"admin_token": "a b"}, "admin_token", "--admin-token has spaces"),
    (
        {"admin_token": "x", "admin_token_file": Path("y")},
        "admin_token",
        "give --admin-token or --admin-token-file, not both",
    ),
    ({"api_keys": ("nonsense",)}, "api_keys", "--api-key: entry 1 is not TENANT=KEY"),
    ({"api_keys": ("a=k", "b=k")}, "api_keys", "tenants 'a' and 'b' have the same key"),
    ({"api_keys": ("a=k", "a=k")}, "api_keys", "give each key once"),
    ({"api_keys": ("a=k",), "admin_token": "k"}, "api_keys", "also the admin token"),
    ({"health_interval_s": 0.0}, "health_interval_s", "--health-interval-s must be a number of"),
    ({"health_timeout_s": -1.0}, "health_timeout_s", "above 0; it is -1"),
    ({"health_failures": 0}, "health_failures", "--health-failures must be at least 1"),
    ({"health_successes": 0}, "health_successes", "--health-successes must be at least 1"),
    ({"health_path": "health"}, "health_path", "begins with /"),
    ({"health_path": "/a b"}, "health_path", "has no spaces"),
    ({"connect_timeout_s": 0.0}, "connect_timeout_s", "above 0; it is 0"),
    ({"first_byte_timeout_s": 0.0}, "first_byte_timeout_s", "above 0, or the word none"),
    ({"idle_timeout_s": float("nan")}, "idle_timeout_s", "above 0, or the word none; it is nan"),
    ({"retries": -1}, "retries", "--retries must be at least 0"),
    ({"max_body_bytes": 0}, "max_body_bytes", "--max-body-bytes must be at least 1"),
    ({"max_inflight_per_worker": 0}, "max_inflight_per_worker", "at least 1, or the word none"),
    ({"max_inflight_total": 0}, "max_inflight_total", "at least 1, or the word none"),
    ({"queue_size": -1}, "queue_size", "--queue-size must be at least 0"),
    ({"queue_timeout_s": float("inf")}, "queue_timeout_s", "--queue-timeout-s must be at least 0"),
    ({"affinity_margin": -1}, "affinity_margin", "--affinity-margin must be at least 0"),
    ({"affinity_ttl_s": 0.0}, "affinity_ttl_s", "--affinity-ttl-s must be a number of seconds"),
    ({"affinity_keys": -1}, "affinity_keys", "--affinity-keys must be at least 0"),
    ({"middleware": ("nodots",)}, "middleware", "not an import path; write package.module:Class"),
    ({"middleware": ("a:b:c",)}, "middleware", "not an import path"),
    ({"token_cache": True}, "tokenizer", "--token-cache needs the model's tokenizer: give"),
    (
        {"middleware": (RADIX_TREE_MIDDLEWARE,)},
        "tokenizer",
        "--token-cache needs the model's tokenizer: give",
    ),
    ({"tokenizer": "m"}, "tokenizer", "--tokenizer has no effect without --token-cache"),
    ({"journal": Path("j")}, "journal", "--journal has no effect without --token-cache"),
    (
        {"capture_routed_experts": True},
        "capture_routed_experts",
        "--capture-routed-experts has no effect without --token-cache",
    ),
    (
        {"token_cache": True, "tokenizer": "m", "routed_experts_dir": Path("d")},
        "routed_experts_dir",
        "has no effect without --capture-routed-experts",
    ),
    ({"cache_bytes": 0}, "cache_bytes", "--cache-bytes must be at least 1"),
    ({"cache_ttl_s": 0.0}, "cache_ttl_s", "above 0, or the word none"),
    ({"keep_versions": 0}, "keep_versions", "--keep-versions must be at least 1"),
    ({"gc_interval_s": 0.0}, "gc_interval_s", "--gc-interval-s must be a number of seconds"),
]


@pytest.mark.parametrize(("given", "key", "message"), REFUSED)
def test_what_cannot_work_is_refused_and_says_what_to_do(
    given: dict[str, Any], key: str, message: str
) -> None:
    with pytest.raises(ConfigFault, match=re.escape(message)) as caught:
        Settings(**given)
    assert caught.value.key == key


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gpu-1", "example.com"])
def test_other_machines_are_let_in_only_with_an_admin_token(host: str) -> None:
    with pytest.raises(ConfigFault, match=re.escape("give --admin-token-file")) as caught:
        Settings(host=host)
    assert caught.value.key == "host"
    assert "or listen on 127.0.0.1" in str(caught.value)
    assert Settings(host=host, admin_token="t").host == host
    assert Settings(host=host, admin_token_file=Path("t")).host == host


@pytest.mark.parametrize(
    "given",
    [
        {"port": 0, "shutdown_grace_s": 0.0, "retries": 0, "queue_size": 0, "queue_timeout_s": 0.0},
        {"affinity_keys": 0, "affinity_margin": 0},
        {"middleware": ("package.module:Class", "package.module.Class")},
        {"token_cache": True, "tokenizer": "m", "journal": Path("j"), "cache_ttl_s": None},
        {"middleware": (RADIX_TREE_MIDDLEWARE,), "tokenizer": "m"},
        {"allow_workers": ("10.0.0.0/8", "fd00::/8", "10.1.2.3", "gpu-1.cluster.local")},
        {"open_registration": ("10.0.0.0/8", "::1")},
        {"workers": ("http://127.0.0.1:1", "https://gpu-1", "http://[::1]:8000")},
    ],
)
def test_limits_and_every_written_form_are_accepted(given: dict[str, Any]) -> None:
    settings = Settings(**given)
    assert {name: getattr(settings, name) for name in given} == given


def test_flags_of_repeatable_fields_are_singular() -> None:
    assert [
        flag_of(name) for name in ("workers", "api_keys", "allow_workers", "idle_timeout_s")
    ] == [
        "--worker",
        "--api-key",
        "--allow-worker",
        "--idle-timeout-s",
    ]
