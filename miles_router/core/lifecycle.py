"""The states a worker can be in and every step between them, as one table.

This file must not know why a step is taken (that is `pool` and `health`) nor what it costs. A step
that is not in `TRANSITIONS` raises `IllegalTransition` and changes nothing.

    joining -> active <-> suspect -> quarantined -> probation -> active | stale
    stale -> active; active or suspect -> stale (it restarted and lost its weights)
    any serving or waiting state -> draining -> drained; everything -> removed

Two words bundle states for everybody else: `ROUTABLE` workers may be given requests (suspect ones
only where no active one is available), `PROBED` workers are watched by the health task.
"""

from __future__ import annotations

from enum import StrEnum

from miles_router.errors import IllegalTransition


class State(StrEnum):
    """Where a worker stands; the value is the word in JSON, metrics and on screen."""

    JOINING = "joining"
    ACTIVE = "active"
    SUSPECT = "suspect"
    QUARANTINED = "quarantined"
    PROBATION = "probation"
    STALE = "stale"
    DRAINING = "draining"
    DRAINED = "drained"
    REMOVED = "removed"


class Trigger(StrEnum):
    """What happened to a worker."""

    PASSED = "passed"  # a good probe
    FAILED = "failed"  # a failure, fewer than the limit in a row
    FAILED_OUT = "failed_out"  # as many failures in a row as the limit
    EJECT = "eject"  # cannot be reached, seen on real traffic
    ADMIT = "admit"  # enough good probes, weight version is right
    HOLD_STALE = "hold_stale"  # enough good probes, weight version is not the pool's newest
    QUARANTINE = "quarantine"  # an operator takes it out
    RELEASE = "release"  # an operator lets it back
    READD = "readd"  # registered again
    DRAIN = "drain"
    EMPTIED = "emptied"  # a draining worker has no request left
    UNDRAIN = "undrain"
    REMOVE = "remove"


_S, _T = State, Trigger

_OUT_OF_SERVICE = {
    _T.QUARANTINE: _S.QUARANTINED,
    _T.DRAIN: _S.DRAINING,
    _T.REMOVE: _S.REMOVED,
}

TRANSITIONS: dict[State, dict[Trigger, State]] = {
    _S.JOINING: {
        _T.PASSED: _S.JOINING,
        _T.FAILED: _S.JOINING,
        _T.FAILED_OUT: _S.JOINING,
        _T.ADMIT: _S.ACTIVE,
        _T.HOLD_STALE: _S.STALE,
        _T.READD: _S.JOINING,
        **_OUT_OF_SERVICE,
    },
    _S.ACTIVE: {
        _T.PASSED: _S.ACTIVE,
        _T.FAILED: _S.SUSPECT,
        _T.FAILED_OUT: _S.QUARANTINED,
        _T.EJECT: _S.QUARANTINED,
        _T.HOLD_STALE: _S.STALE,
        _T.READD: _S.ACTIVE,
        **_OUT_OF_SERVICE,
    },
    _S.SUSPECT: {
        _T.PASSED: _S.ACTIVE,
        _T.FAILED: _S.SUSPECT,
        _T.FAILED_OUT: _S.QUARANTINED,
        _T.EJECT: _S.QUARANTINED,
        _T.HOLD_STALE: _S.STALE,
        _T.READD: _S.SUSPECT,
        **_OUT_OF_SERVICE,
    },
    _S.QUARANTINED: {
        _T.PASSED: _S.PROBATION,
        _T.FAILED: _S.QUARANTINED,
        _T.FAILED_OUT: _S.QUARANTINED,
        _T.EJECT: _S.QUARANTINED,
        _T.QUARANTINE: _S.QUARANTINED,
        _T.RELEASE: _S.PROBATION,
        _T.READD: _S.PROBATION,
        _T.DRAIN: _S.DRAINING,
        _T.REMOVE: _S.REMOVED,
    },
    _S.PROBATION: {
        _T.PASSED: _S.PROBATION,
        _T.FAILED: _S.QUARANTINED,
        _T.FAILED_OUT: _S.QUARANTINED,
        _T.EJECT: _S.QUARANTINED,
        _T.ADMIT: _S.ACTIVE,
        _T.HOLD_STALE: _S.STALE,
        _T.READD: _S.PROBATION,
        **_OUT_OF_SERVICE,
    },
    _S.STALE: {
        _T.PASSED: _S.STALE,
        _T.FAILED: _S.STALE,
        _T.FAILED_OUT: _S.QUARANTINED,
        _T.EJECT: _S.QUARANTINED,
        _T.ADMIT: _S.ACTIVE,
        _T.HOLD_STALE: _S.STALE,
        _T.RELEASE: _S.ACTIVE,
        _T.READD: _S.STALE,
        **_OUT_OF_SERVICE,
    },
    _S.DRAINING: {
        _T.PASSED: _S.DRAINING,
        _T.FAILED: _S.DRAINING,
        _T.FAILED_OUT: _S.DRAINING,
        _T.EJECT: _S.DRAINING,
        _T.EMPTIED: _S.DRAINED,
        _T.UNDRAIN: _S.PROBATION,
        _T.READD: _S.PROBATION,
        _T.DRAIN: _S.DRAINING,
        _T.REMOVE: _S.REMOVED,
    },
    _S.DRAINED: {
        _T.PASSED: _S.DRAINED,
        _T.FAILED: _S.DRAINED,
        _T.FAILED_OUT: _S.DRAINED,
        _T.EJECT: _S.DRAINED,
        _T.UNDRAIN: _S.PROBATION,
        _T.READD: _S.PROBATION,
        _T.DRAIN: _S.DRAINED,
        _T.REMOVE: _S.REMOVED,
    },
    _S.REMOVED: {},
}

ROUTABLE = frozenset({_S.ACTIVE, _S.SUSPECT})
PROBED = frozenset(set(State) - {_S.REMOVED})
LEAVING = frozenset({_S.DRAINING, _S.DRAINED, _S.REMOVED})


def next_state(state: State, trigger: Trigger) -> State:
    """The state after `trigger`.

    Raises:
        IllegalTransition: the table has no such step.
    """
    try:
        return TRANSITIONS[state][trigger]
    except KeyError:
        raise IllegalTransition(
            f"a worker that is {state.value} cannot take the step '{trigger.value}'",
            state=state.value,
            trigger=trigger.value,
        ) from None
