from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec
import pytest

from miles_router.core.lifecycle import State
from miles_router.tui.actions import ACTIONS, by_id
from miles_router.tui.availability import NOTHING, Selected, circumstances, why_not
from miles_router.tui.source import Link, LinkState
from tests.tui import pool_pictures as pictures
from tests.tui.fake_source import FakeControls

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from miles_router.core.snapshot import Snapshot, WorkerView

LIVE = Link(LinkState.LIVE, 0.0)
LOST = Link(LinkState.LOST, 0.0, "no router answers", 1.0)
POOL = pictures.picture(14)
NAME = "10.0.0.10:30000"
CHANGES = [action.id for action in ACTIONS if action.changes]


def in_state(status: str, *, is_held: bool = False, is_leaving: bool = False) -> WorkerView:
    return msgspec.structs.replace(
        POOL.workers[0], status=status, is_held=is_held, is_leaving=is_leaving
    )


def reason(
    name: str,
    selected: Selected = NOTHING,
    *,
    snapshot: Snapshot | None = POOL,
    refusal: str = "",
    link: Link = LIVE,
) -> str:
    return why_not(by_id(name), snapshot, selected, FakeControls(refusal), link)


def everything() -> Selected:
    return Selected(POOL.workers[0], POOL.requests[0], "default")


@pytest.mark.parametrize("name", CHANGES)
def test_no_command_without_the_right_to_it(name: str) -> None:
    refusal = "this UI is read-only (--read-only)"
    assert reason(name, everything(), refusal=refusal, link=LOST) == refusal


@pytest.mark.parametrize("name", CHANGES)
def test_no_command_to_a_router_that_is_not_there(name: str) -> None:
    lost = reason(name, everything(), link=LOST)
    assert lost == "the router does not answer; the numbers are old"
    unknown = reason(name, everything(), snapshot=None, link=Link(LinkState.WAITING, 0.0))
    assert unknown == "the router has not answered yet"
    assert reason(name, everything(), snapshot=None, link=LOST) == unknown
    stopping = msgspec.structs.replace(POOL, is_stopping=True)
    assert reason(name, everything(), snapshot=stopping) == "the router is stopping"


@pytest.mark.parametrize("action", [one for one in ACTIONS if not one.changes])
def test_looking_needs_no_right_and_no_link(action: object) -> None:
    name = getattr(action, "id", "")
    assert reason(name, everything(), refusal="no token", link=LOST) == ""


def test_what_needs_something_under_the_cursor() -> None:
    for name in ("drain", "undrain", "quarantine", "release", "probe", "remove"):
        assert reason(name) == "no worker is selected"
    assert reason("abort") == "no request is selected"
    assert reason("clear") == "no tenant is selected"
    assert reason("copy") == reason("details") == "nothing is selected"
    assert reason("add") == ""
    assert reason("sweep") == ""


def test_the_worker_of_a_request() -> None:
    running = pictures.request(1, "w-1", 3.0)
    assert reason("details", Selected(request=running)) == ""
    waiting = pictures.request(1, None, 3.0)
    assert reason("details", Selected(request=waiting)) == "no worker has this request yet"


def test_no_token_cache() -> None:
    without = msgspec.structs.replace(POOL, token_cache=None)
    for name in ("sweep", "clear"):
        told = reason(name, everything(), snapshot=without)
        assert told == "the router runs without the token cache; --token-cache turns it on"


def test_an_abort_that_is_under_way() -> None:
    aborting = msgspec.structs.replace(POOL.requests[0], state="aborting")
    assert reason("abort", Selected(request=aborting)) == "it is being aborted already"


def test_a_link_that_is_up_needs_no_reconnect() -> None:
    assert reason("reconnect") == "the connection is up"
    assert reason("reconnect", link=LOST) == ""


@pytest.mark.parametrize(
    ("name", "worker", "told"),
    [
        ("drain", in_state("active"), ""),
        ("drain", in_state("quarantined"), ""),
        ("drain", in_state("draining"), f"{NAME} is draining already"),
        ("drain", in_state("drained"), f"{NAME} is drained already"),
        ("drain", in_state("draining", is_leaving=True), f"{NAME} is being removed"),
        ("undrain", in_state("draining"), ""),
        ("undrain", in_state("draining", is_leaving=True), ""),
        ("undrain", in_state("active"), f"{NAME} is not draining or drained; it is active"),
        ("release", in_state("quarantined"), ""),
        ("release", in_state("stale"), ""),
        ("release", in_state("active"), f"{NAME} is not quarantined or stale; it is active"),
        ("quarantine", in_state("suspect"), ""),
        ("quarantine", in_state("quarantined"), ""),
        (
            "quarantine",
            in_state("quarantined", is_held=True),
            f"{NAME} is quarantined until it is released",
        ),
        ("quarantine", in_state("drained"), f"{NAME} is drained: undrain it first"),
        ("remove", in_state("draining", is_leaving=True), ""),
        ("probe", in_state("drained"), ""),
        ("drain", in_state("hibernating"), ""),
    ],
)
def test_states(name: str, worker: WorkerView, told: str) -> None:
    assert reason(name, Selected(worker)) == told


@pytest.mark.parametrize("state", [one for one in State if one is not State.REMOVED])
def test_every_state_can_be_removed(state: State) -> None:
    assert reason("remove", Selected(in_state(state.value))) == ""


def situations() -> Iterator[tuple[Snapshot | None, Selected, FakeControls, Link]]:
    """Everything that an answer may depend on, in every combination of two values or more."""
    changed = msgspec.structs.replace
    running = pictures.request(1, "w-1", 3.0)
    snapshots = (
        None,
        POOL,
        changed(POOL, is_stopping=True),
        changed(POOL, token_cache=None),
        changed(POOL, uptime_s=1.0, totals=changed(POOL.totals, queued=9)),
    )
    selections = (
        NOTHING,
        *(Selected(in_state(state.value)) for state in State),
        Selected(in_state("draining", is_leaving=True)),
        Selected(in_state("quarantined", is_held=True)),
        Selected(changed(in_state("active"), url="http://other", inflight=7)),
        Selected(request=running),
        Selected(request=changed(running, worker_id=None)),
        Selected(request=changed(running, state="aborting", age_s=9.0)),
        Selected(tenant="default"),
        Selected(event=pictures.events(POOL.workers)[0]),
        Selected(line=pictures.log_lines()[0]),
    )
    for link in (LIVE, LOST, Link(LinkState.SILENT, 0.0), Link(LinkState.LIVE, 5.0)):
        for controls in (FakeControls(""), FakeControls("no token")):
            for snapshot, selected in itertools.product(snapshots, selections):
                yield snapshot, selected, controls, link


def test_in_equal_circumstances_every_answer_is_the_same() -> None:
    told: dict[Hashable, list[str]] = {}
    times = 0
    for snapshot, selected, controls, link in situations():
        times += 1
        about = circumstances(snapshot, selected, controls, link)
        answers = [why_not(action, snapshot, selected, controls, link) for action in ACTIONS]
        assert told.setdefault(about, answers) == answers
    assert len(told) < times, "what does not matter is left out"
