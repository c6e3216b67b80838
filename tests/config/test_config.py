"""The settings as a value."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from pathlib import Path

import pytest

from miles_router.config import Settings


def test_defaults_can_be_used_and_listen_on_this_machine_only() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.policy) == ("127.0.0.1", 30000, "least_inflight")
    assert settings.max_body_bytes == 1024**3
    assert settings.first_byte_timeout_s is None
    assert settings.idle_timeout_s is None


def test_settings_do_not_change() -> None:
    name = "port"
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(Settings(), name, 1)


def test_secrets_show_neither_in_repr_nor_in_masked() -> None:
    settings = Settings(admin_token="hunter2", api_keys=("red=hunter3", "blue=hunter4"))
    shown = f"{settings!r} {settings} {settings.masked()}"
    assert "hunter" not in shown
    assert "red=" in shown
    assert "blue=" in shown


def test_masked_names_every_field() -> None:
    settings = Settings(admin_token_file=Path("t"))
    assert list(settings.masked()) == [field.name for field in fields(Settings)]
    assert settings.masked()["admin_token"] is None


def test_each_key_leads_to_its_tenant() -> None:
    settings = Settings(api_keys=("red=k1", "blue=k2", "red=k3"))
    assert settings.tenants_by_key == {"k1": "red", "k2": "blue", "k3": "red"}
