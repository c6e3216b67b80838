from __future__ import annotations

import pytest

from miles_router.tui.actions import (
    ACTIONS,
    Scope,
    actions_in,
    by_id,
    footer,
    help_rows,
    readme_table,
)


def test_ids_are_unique_and_found() -> None:
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    assert all(by_id(action.id) is action for action in ACTIONS)
    with pytest.raises(KeyError):
        by_id("explode")


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_labels_fit_a_footer_and_help_is_a_sentence(action: object) -> None:
    found = by_id(getattr(action, "id", ""))
    assert 2 <= len(found.label) <= 14
    assert found.help[0].isupper()
    assert found.help.endswith(".")
    assert "|" not in found.help


def test_what_changes_the_router() -> None:
    assert [action.id for action in ACTIONS if action.changes] == [
        "drain",
        "undrain",
        "quarantine",
        "release",
        "probe",
        "add",
        "remove",
        "abort",
        "sweep",
        "clear",
    ]


@pytest.mark.parametrize("scope", Scope)
def test_a_footer_begins_with_the_way_out(scope: Scope) -> None:
    shown = [action.id for action in footer(scope)]
    assert shown[:2] == ["help", "quit"]
    assert len(set(shown)) == len(shown)
    assert not any(action.changes for action in footer(scope, is_read_only=True))


def test_the_footer_of_the_workers_is_about_workers() -> None:
    shown = [action.id for action in footer(Scope.WORKERS)]
    assert {"drain", "undrain", "quarantine", "release", "add", "remove", "filter"} <= set(shown)
    assert "abort" not in shown
    assert "view_log" not in shown


def test_the_help_has_every_action_once_under_a_heading() -> None:
    rows = help_rows()
    assert rows[0].label == "Everywhere"
    assert sorted(row.id for row in rows if row.id) == sorted(action.id for action in ACTIONS)
    assert {row.label for row in rows if not row.id} <= {scope.value for scope in Scope}


def test_the_help_begins_where_the_user_is() -> None:
    rows = help_rows(first=Scope.WORKER)
    assert rows[0].label == "One worker"
    told = [row.id for row in rows if row.id]
    assert told[: len(actions_in(Scope.WORKER))] == [one.id for one in actions_in(Scope.WORKER)]
    assert len(told) == len(ACTIONS)


def test_the_help_shows_a_users_own_keys() -> None:
    (row,) = [row for row in help_rows({"drain": "D,f6"}) if row.id == "drain"]
    assert row.keys == "D F6"


def test_the_table_for_the_readme() -> None:
    lines = readme_table().splitlines()
    assert lines[:2] == ["| where | key | does | id |", "| --- | --- | --- | --- |"]
    assert len(lines) == 2 + len(ACTIONS)
    assert all(line.count("|") == 5 for line in lines)
    assert "| `?` `F1` | **Help.** Shows every key and what it does. | `help` |" in lines[2]
