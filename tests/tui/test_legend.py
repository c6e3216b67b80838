"""The help explains every sign of a state where it is shown."""

from __future__ import annotations

import pytest

from miles_router.core.lifecycle import State
from miles_router.tui.actions import Scope
from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs
from miles_router.tui.screens.legend import legend

# A worker that was removed is not shown.
WORKER_STATES = {state.value for state in State} - {State.REMOVED.value}


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (Scope.WORKERS, WORKER_STATES),
        (Scope.WORKER, WORKER_STATES),
        (Scope.REQUESTS, {"reading", "queued", "generating", "answering", "aborting"}),
    ],
)
def test_every_state_is_explained(scope: Scope, words: set[str], glyphs: Glyphs) -> None:
    notes = dict(legend(scope, glyphs))
    signs = {**glyphs.states, **glyphs.requests}
    assert {shown for shown, _ in notes["States"]} == {f"{signs[word]} {word}" for word in words}
