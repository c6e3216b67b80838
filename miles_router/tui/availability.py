"""Whether an action can be carried out at this moment, and if not, why.

The router has the last word, for it may be ahead of the snapshot; what is refused here is what
cannot work. Nothing here knows Textual or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from miles_router.core.lifecycle import TRANSITIONS, State, Trigger
from miles_router.tui.names import short_url
from miles_router.tui.source import LinkState

if TYPE_CHECKING:
    from collections.abc import Hashable

    from miles_router.core.events import Event
    from miles_router.core.log_ring import LogLine
    from miles_router.core.snapshot import RequestView, Snapshot, WorkerView
    from miles_router.tui.actions import Action
    from miles_router.tui.source import Controls, Link

_OF_A_WORKER = {
    "drain": Trigger.DRAIN,
    "undrain": Trigger.UNDRAIN,
    "quarantine": Trigger.QUARANTINE,
    "release": Trigger.RELEASE,
    "remove": Trigger.REMOVE,
    "probe": None,
}


@dataclass(frozen=True, slots=True)
class Selected:
    """What is under the cursor."""

    worker: WorkerView | None = None
    request: RequestView | None = None
    tenant: str | None = None  # whose namespace of the token cache
    event: Event | None = None
    line: LogLine | None = None  # of the log


NOTHING = Selected()


def why_not(
    action: Action,
    snapshot: Snapshot | None,
    selected: Selected,
    controls: Controls,
    link: Link,
) -> str:
    """Why `action` is not available now, as a sentence for the screen; empty if it is."""
    if action.changes:
        return _why_no_command(action, snapshot, selected, controls, link)
    if action.id == "reconnect" and link.state in {LinkState.LIVE, LinkState.SILENT}:
        return "the connection is up"
    if action.id == "details":
        return _why_no_details(selected)
    if action.id == "copy" and selected.worker is None and selected.request is None:
        return "nothing is selected"
    return ""


def circumstances(
    snapshot: Snapshot | None, selected: Selected, controls: Controls, link: Link
) -> Hashable:
    """All that the answers of `why_not` depend on: while it is equal, they are."""
    router = None if snapshot is None else (snapshot.is_stopping, snapshot.token_cache is None)
    worker, request = selected.worker, selected.request
    return (
        controls.refusal,
        link.state,
        router,
        None if worker is None else (worker.url, worker.status, worker.is_leaving, worker.is_held),
        None if request is None else (request.state, request.worker_id),
        selected.tenant is None,
        selected.event is None,
        selected.line is None,
    )


def _why_no_details(selected: Selected) -> str:
    found = (selected.worker, selected.request, selected.event, selected.line)
    if all(one is None for one in found):
        return "nothing is selected"
    is_waiting = selected.request is not None and selected.request.worker_id is None
    if is_waiting and selected.worker is None:
        return "no worker has this request yet"
    return ""


def _why_no_command(
    action: Action,
    snapshot: Snapshot | None,
    selected: Selected,
    controls: Controls,
    link: Link,
) -> str:
    if controls.refusal:
        return controls.refusal
    if snapshot is None:
        return "the router has not answered yet"
    if link.state is LinkState.LOST:
        return "the router does not answer; the numbers are old"
    if snapshot.is_stopping:
        return "the router is stopping"
    if action.id in _OF_A_WORKER:
        if selected.worker is None:
            return "no worker is selected"
        return _why_not_this_worker(_OF_A_WORKER[action.id], selected.worker)
    if action.id == "abort":
        return _why_no_abort(selected.request)
    if action.id in {"sweep", "clear"} and snapshot.token_cache is None:
        return "the router runs without the token cache; --token-cache turns it on"
    if action.id == "clear" and selected.tenant is None:
        return "no tenant is selected"
    return ""


def _why_no_abort(request: RequestView | None) -> str:
    if request is None:
        return "no request is selected"
    return "it is being aborted already" if request.state == "aborting" else ""


def _why_not_this_worker(trigger: Trigger | None, worker: WorkerView) -> str:
    """What the lifecycle table, or the state itself, has against it."""
    name = short_url(worker.url)
    try:
        state = State(worker.status)
    except ValueError:
        return ""  # a state of a newer router, which knows what it allows
    if trigger is Trigger.DRAIN and worker.is_leaving:
        return f"{name} is being removed"
    if trigger is Trigger.DRAIN and state in {State.DRAINING, State.DRAINED}:
        return f"{name} is {state.value} already"
    if trigger is Trigger.QUARANTINE and state is State.QUARANTINED and worker.is_held:
        return f"{name} is quarantined until it is released"
    if trigger is None or trigger in TRANSITIONS[state]:
        return ""
    needed = " or ".join(one.value for one in State if trigger in TRANSITIONS[one])
    if trigger is Trigger.QUARANTINE:
        return f"{name} is {state.value}: undrain it first"
    return f"{name} is not {needed}; it is {state.value}"
