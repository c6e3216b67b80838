from __future__ import annotations

import string

import pytest
from textual.keys import _character_to_key

from miles_router.tui import keymap
from miles_router.tui.actions import ACTIONS, check_keymap


@pytest.mark.parametrize("mark", string.punctuation + string.ascii_letters + string.digits)
def test_characters_have_textuals_names(mark: str) -> None:
    name = keymap.normal_key(mark)
    assert name == _character_to_key(mark)
    assert keymap.shown_key(name) == mark


@pytest.mark.parametrize(
    ("written", "name", "shown"),
    [
        ("slash", "slash", "/"),
        ("^s", "ctrl+s", "^s"),
        ("Ctrl+S", "ctrl+s", "^s"),
        ("F5", "f5", "F5"),
        (" escape ", "escape", "Esc"),
        ("shift+tab", "shift+tab", "Shift+Tab"),
        ("PageUp", "pageup", "PgUp"),
        ("ctrl+slash", "ctrl+slash", "^/"),
        ("f", "f", "f"),
    ],
)
def test_keys_can_be_written_in_several_ways(written: str, name: str, shown: str) -> None:
    assert keymap.normal_key(written) == name
    assert keymap.shown_key(name) == shown


@pytest.mark.parametrize(
    "written", ["", "fn", "super+x", "ctrl+", "ß", "f25", "ctrl+i", "^m", "++"]
)
def test_a_key_that_no_terminal_sends_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="there is no key"):
        keymap.normal_key(written)


def test_the_keys_that_come_with_it_are_names_and_fit_together() -> None:
    assert check_keymap({}) == ()
    for action in ACTIONS:
        assert [keymap.normal_key(key) for key in action.keys] == list(action.keys)


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"drain": "D"}, ()),
        ({"drain": "D, f6"}, ()),
        ({"drain": "u", "undrain": "d"}, ()),
        ({"sweep": "d"}, ()),  # the worker's keys mean nothing where the token cache is shown
        ({"drain": "f6,f6"}, ()),
        ({"explode": "e"}, ("there is no action 'explode'; `?` in the UI lists them",)),
        ({"drain": "u"}, ("the key u is both drain and undrain",)),
        ({"sweep": "q"}, ("the key q is both quit and sweep",)),
        ({"sweep": "up"}, ("the key Up is both up and sweep",)),
        ({"abort": "d"}, ("the key d is both drain and abort",)),
        (
            {"drain": "hyper+d"},
            ("drain: there is no key 'hyper+d': write a letter, F5, ctrl+g or slash",),
        ),
    ],
)
def test_a_users_keys_are_checked(chosen: dict[str, str], told: tuple[str, ...]) -> None:
    assert check_keymap(chosen) == told


def test_a_users_keys_in_names() -> None:
    assert keymap.normal_keymap({"filter": "/,^F"}) == {"filter": "slash,ctrl+f"}
