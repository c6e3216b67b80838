"""The table of steps: total, and the picture it draws."""

from __future__ import annotations

from itertools import product

import pytest

from miles_router.core.lifecycle import (
    LEAVING,
    PROBED,
    ROUTABLE,
    TRANSITIONS,
    State,
    Trigger,
    next_state,
)
from miles_router.errors import IllegalTransition

PAIRS = list(product(State, Trigger))

# Every step that is not in here must raise. Written out on purpose: the table is the product.
LISTED = {
    State.JOINING: "passed failed failed_out admit hold_stale readd quarantine drain remove",
    State.ACTIVE: "passed failed failed_out eject hold_stale readd quarantine drain remove",
    State.SUSPECT: "passed failed failed_out eject hold_stale readd quarantine drain remove",
    State.QUARANTINED: "passed failed failed_out eject quarantine release readd drain remove",
    State.PROBATION: (
        "passed failed failed_out eject admit hold_stale readd quarantine drain remove"
    ),
    State.STALE: (
        "passed failed failed_out eject admit hold_stale release readd quarantine drain remove"
    ),
    State.DRAINING: "passed failed failed_out eject emptied undrain readd drain remove",
    State.DRAINED: "passed failed failed_out eject undrain readd drain remove",
    State.REMOVED: "",
}


def walk(start: State, *triggers: Trigger) -> list[str]:
    path = []
    state = start
    for trigger in triggers:
        state = next_state(state, trigger)
        path.append(state.value)
    return path


@pytest.mark.parametrize(("state", "trigger"), PAIRS)
def test_every_pair_is_listed_or_refused(state: State, trigger: Trigger) -> None:
    before = {state: dict(row) for state, row in TRANSITIONS.items()}
    if trigger.value in LISTED[state].split():
        assert isinstance(next_state(state, trigger), State)
    else:
        with pytest.raises(IllegalTransition) as refusal:
            next_state(state, trigger)
        assert refusal.value.status == 409
        assert refusal.value.details == {"state": state.value, "trigger": trigger.value}
        assert state.value in refusal.value.message
        assert trigger.value in refusal.value.message
    assert before == TRANSITIONS


def test_the_table_has_a_row_for_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


def test_a_worker_that_stays_well_goes_from_joining_to_active() -> None:
    assert walk(State.JOINING, Trigger.PASSED, Trigger.ADMIT, Trigger.PASSED) == [
        "joining",
        "active",
        "active",
    ]


def test_a_failing_worker_is_suspect_then_quarantined_then_on_probation_then_active() -> None:
    assert walk(
        State.ACTIVE,
        Trigger.FAILED,
        Trigger.PASSED,
        Trigger.FAILED,
        Trigger.FAILED,
        Trigger.FAILED_OUT,
        Trigger.PASSED,
        Trigger.PASSED,
        Trigger.ADMIT,
    ) == [
        "suspect",
        "active",
        "suspect",
        "suspect",
        "quarantined",
        "probation",
        "probation",
        "active",
    ]


def test_probation_ends_at_the_first_failure() -> None:
    assert walk(State.PROBATION, Trigger.FAILED) == ["quarantined"]


def test_a_stale_worker_waits_until_it_is_admitted_or_released() -> None:
    assert walk(State.PROBATION, Trigger.HOLD_STALE, Trigger.PASSED, Trigger.ADMIT) == [
        "stale",
        "stale",
        "active",
    ]
    assert walk(State.STALE, Trigger.RELEASE) == ["active"]


@pytest.mark.parametrize("state", sorted(ROUTABLE))
def test_a_serving_worker_that_lost_its_weights_is_held_stale(state: State) -> None:
    assert walk(state, Trigger.HOLD_STALE, Trigger.ADMIT) == ["stale", "active"]


def test_a_stale_worker_that_fails_a_little_stays_and_that_fails_out_is_quarantined() -> None:
    assert walk(State.STALE, Trigger.FAILED, Trigger.FAILED_OUT) == ["stale", "quarantined"]


@pytest.mark.parametrize("state", sorted(set(State) - LEAVING))
def test_every_present_worker_can_be_drained_and_comes_back_through_probation(
    state: State,
) -> None:
    assert walk(state, Trigger.DRAIN, Trigger.EMPTIED, Trigger.UNDRAIN) == [
        "draining",
        "drained",
        "probation",
    ]
    assert walk(state, Trigger.DRAIN, Trigger.UNDRAIN) == ["draining", "probation"]


@pytest.mark.parametrize("state", [State.DRAINING, State.DRAINED])
@pytest.mark.parametrize(
    "trigger", [Trigger.PASSED, Trigger.FAILED, Trigger.FAILED_OUT, Trigger.EJECT]
)
def test_health_moves_no_worker_that_is_drained(state: State, trigger: Trigger) -> None:
    assert next_state(state, trigger) is state


@pytest.mark.parametrize("state", sorted(set(State) - {State.REMOVED}))
def test_every_worker_can_be_removed_and_a_removed_one_does_nothing(state: State) -> None:
    assert next_state(state, Trigger.REMOVE) is State.REMOVED
    assert TRANSITIONS[State.REMOVED] == {}


def test_only_admission_release_or_recovery_lead_to_a_routable_state() -> None:
    """Nothing but these lets a worker serve: a new trigger must be added here by intent."""
    entries = {
        (state.value, trigger.value)
        for state, row in TRANSITIONS.items()
        for trigger, after in row.items()
        if after in ROUTABLE and state not in ROUTABLE
    }
    assert entries == {
        ("joining", "admit"),
        ("probation", "admit"),
        ("stale", "admit"),
        ("stale", "release"),
    }


def test_the_bundles() -> None:
    assert {State.ACTIVE, State.SUSPECT} == ROUTABLE
    assert set(State) - {State.REMOVED} == PROBED
    assert {State.DRAINING, State.DRAINED, State.REMOVED} == LEAVING
