from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from miles_router.core.radix.run import EMPTY
from miles_router.core.trajectory.turn import (
    TURN_BYTES,
    VERSION_BYTES,
    Prompt,
    SpelledOutput,
    UnfitTurn,
    VersionSpan,
    check_turn,
)
from tests.core.trajectory.cases import TENANT, Rig, check_consistent, new_turn, run_of

if TYPE_CHECKING:
    from miles_router.core.trajectory.turn import NewTurn

QUESTION = run_of((1, "q"))
ANSWER = run_of((2, "a"), (3, "bc"))


def changed(**changes: Any) -> NewTurn:
    return msgspec.structs.replace(new_turn(QUESTION, ANSWER), **changes)


def test_a_turn_that_fits() -> None:
    rig = Rig()
    new = new_turn(QUESTION, ANSWER, visible=1, partial=b"b")
    check_turn(new, TENANT)
    turn = rig.store.add(TENANT, new, 0.0)
    assert (turn.prompt_end, turn.end, turn.generated_tokens) == (1, 3, 2)
    check_turn(new_turn(QUESTION, ANSWER, parent=turn, inherited=2), TENANT)
    check_turn(new_turn(), TENANT)


@pytest.mark.parametrize(
    "changes",
    [
        {"inherited": 1},
        {"inherited": -1},
        {"output": SpelledOutput(ANSWER, 3)},
        {"output": SpelledOutput(ANSWER, -1)},
        {"output": SpelledOutput(ANSWER, 1, b"c")},
        {"output": SpelledOutput(ANSWER, 2, b"b")},
        {"logprobs": b""},
        {"logprobs": bytes(9)},
        {"versions": ()},
        {"versions": (VersionSpan("1", 0, 1),)},
        {"versions": (VersionSpan("1", 0, 3),)},
        {"versions": (VersionSpan("1", 1, 2),)},
        {"versions": (VersionSpan("1", 0, 1), VersionSpan("2", 2, 2))},
        {"versions": (VersionSpan("1", 0, 3), VersionSpan("2", 3, 2))},
    ],
)
def test_a_turn_that_contradicts_itself_is_refused_and_changes_nothing(
    changes: dict[str, Any],
) -> None:
    rig = Rig()
    with pytest.raises(UnfitTurn):
        rig.store.add(TENANT, changed(**changes), 0.0)
    assert (rig.store.namespaces, rig.store.size_bytes, rig.store.trajectories) == ({}, 0, 0)


def test_a_turn_must_continue_what_is_stored_for_its_tenant() -> None:
    rig = Rig()
    turn = rig.store.add(TENANT, new_turn(QUESTION, ANSWER), 0.0)
    for inherited in (-1, 4):
        with pytest.raises(UnfitTurn, match="inherited"):
            rig.store.add(TENANT, new_turn(parent=turn, inherited=inherited), 0.0)
    with pytest.raises(UnfitTurn, match="another tenant"):
        rig.store.add("other", new_turn(parent=turn), 0.0)
    assert turn.trajectory is not None
    rig.store.evict(turn.trajectory, "deleted")
    rig.sweep()
    with pytest.raises(UnfitTurn, match="not stored"):
        rig.store.add(TENANT, new_turn(parent=turn), 0.0)
    check_consistent(rig.store)


def test_the_size_of_a_turn() -> None:
    rig = Rig()
    turn = rig.store.add(TENANT, new_turn(QUESTION, ANSWER, rid="12345", session="123"), 0.0)
    assert turn.size_bytes == TURN_BYTES + VERSION_BYTES + 2 * 4 + 8


def test_a_turn_is_shown_without_those_before_it() -> None:
    rig = Rig()
    first = rig.store.add(TENANT, new_turn(QUESTION, ANSWER), 0.0)
    second = rig.store.add(TENANT, new_turn(QUESTION, parent=first), 0.0)
    assert repr(first) == "<Turn 1 of 'tenant', 3 tokens>"
    assert repr(second) == "<Turn 2 of 'tenant', 4 tokens behind turn 1>"


def test_nothing_is_known_of_a_prompt_at_first() -> None:
    assert Prompt() == Prompt(None, 0, EMPTY, b"")
