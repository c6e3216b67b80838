"""Secrets in files: read, or refused without showing them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from miles_router.config import Settings
from miles_router.config.secrets import read_secrets
from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from pathlib import Path


def test_secret_files_are_read(tmp_path: Path) -> None:
    token, keys = tmp_path / "token", tmp_path / "keys"
    token.write_text("hunter2\n", encoding="utf-8")
    keys.write_text("# keys\n\nred=k1\n  blue=k2  \n", encoding="utf-8")
    found = read_secrets(Settings(admin_token_file=token, api_keys_file=keys, api_keys=("red=k0",)))
    assert found.admin_token == "hunter2"
    assert found.tenants_by_key == {"k0": "red", "k1": "red", "k2": "blue"}
    assert (found.admin_token_file, found.api_keys_file) == (None, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; make one"),
        (" \n", "is empty"),
        ("hun ter\n", "has spaces"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_token_file_names_the_flag_and_hides_the_content(
    content: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(
        ConfigFault, match=re.escape(f"--admin-token-file {path} {message}")
    ) as caught:
        read_secrets(Settings(admin_token_file=path))
    assert caught.value.key == "admin_token_file"
    assert "hun" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no TENANT=KEY line"),
        ("# only this\n", "has no TENANT=KEY line"),
        ("red=k1\nhunter2\n", ": line 2 is not TENANT=KEY"),
        ("red=\n", ": line 1 (tenant 'red') has a key that is empty"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_key_file_names_the_flag_and_hides_the_content(
    content: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigFault, match=re.escape(f"--api-keys-file {path}")) as caught:
        read_secrets(Settings(api_keys_file=path))
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigFault, match="it is not text"):
        read_secrets(Settings(admin_token_file=path))


def test_a_key_in_the_file_may_not_repeat_one_of_the_flag(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("blue=k0\n", encoding="utf-8")
    with pytest.raises(ConfigFault, match="have the same key"):
        read_secrets(Settings(api_keys_file=keys, api_keys=("red=k0",)))
