"""What is asked before a command goes out, and what the question says it will cost.

What loses work asks; what the same hand can take back does not, unless it leaves no worker to
serve. Costs are those of the snapshot that the user sees. Nothing here knows Textual or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from miles_router.core.counted import counted
from miles_router.tui import format as fmt
from miles_router.tui.commands import (
    Abort,
    ClearNamespace,
    Command,
    Drain,
    Quarantine,
    Remove,
)
from miles_router.tui.glyphs import UNICODE
from miles_router.tui.names import short_id, short_url, worker_of

if TYPE_CHECKING:
    from miles_router.core.snapshot import Snapshot, WorkerView


@dataclass(frozen=True, slots=True)
class Quit:
    """End the UI, and with it a router that runs in the same process."""


Asked = Command | Quit


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer. `outcome`: what is then done, None: nothing.

    `key`: names of keys with commas between them. `typed` has to be typed first, if it is not
    empty.
    """

    key: str
    label: str
    outcome: Asked | None
    typed: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """`title` names the deed, `text` (lines) what it costs; Enter means `default`, Esc nothing."""

    title: str
    text: str
    choices: tuple[Choice, ...]
    default: Choice


_KEEP = Choice("n,escape", "No", None)
_CANCEL = Choice("escape", "Cancel", None)


def question(asked: Asked, snapshot: Snapshot | None, *, is_local: bool) -> Question | None:
    """What to ask before `asked` is done; None: it is done at once."""
    if isinstance(asked, Quit):
        return _quit(snapshot) if is_local else None
    if isinstance(asked, Drain | Quarantine | Remove):
        worker = worker_of(snapshot, asked.worker_id)
        if snapshot is None or worker is None:
            return None  # the router answers that there is no such worker
        if isinstance(asked, Remove):
            return _remove(worker, snapshot)
        return _take_out(asked, worker, snapshot)
    if isinstance(asked, Abort):
        return _abort(asked, snapshot)
    if isinstance(asked, ClearNamespace):
        return _clear(asked, snapshot)
    return None


def _yes_or_no(title: str, text: str, outcome: Asked, *, key: str = "y") -> Question:
    return Question(_safe(title), text, (Choice(key, "Yes", outcome), _KEEP), default=_KEEP)


def _last_one(worker: WorkerView, snapshot: Snapshot) -> str:
    """A line that says that nothing is left to serve without `worker`; empty if others serve."""
    others = any(one.is_healthy for one in snapshot.workers if one.id != worker.id)
    if others or not worker.is_healthy:
        return ""
    return "It is the last worker that serves: new requests will wait until another does."


def _take_out(asked: Drain | Quarantine, worker: WorkerView, snapshot: Snapshot) -> Question | None:
    """A drain asks only for the last worker; a quarantine always, for it stays until a release."""
    last = _last_one(worker, snapshot)
    name = short_url(worker.url)
    running = f"{_in_flight(worker.inflight)} will finish." if worker.inflight else ""
    if isinstance(asked, Drain):
        if not last:
            return None
        return _yes_or_no(f"Drain {name}?", _lines(last, running), asked)
    stays = "It gets no requests until it is released, whatever its health checks say."
    return _yes_or_no(f"Quarantine {name}?", _lines(last, stays, running), asked)


def _remove(worker: WorkerView, snapshot: Snapshot) -> Question:
    name, last = short_url(worker.url), _last_one(worker, snapshot)
    title = _safe(f"Remove {name}?")
    gently = Remove(worker.id)
    if not worker.inflight:
        return _yes_or_no(title, _lines(last, "Nothing runs on it."), gently)
    typed = short_id(worker.id, (one.id for one in snapshot.workers))
    now = Choice("x", "Remove now", Remove(worker.id, cuts=True), typed)
    cost = f"{_in_flight(worker.inflight)}."
    cut = f"Remove now cuts {'it' if worker.inflight == 1 else 'them'}: what was generated is lost."
    if worker.is_leaving:
        waits = "It is being removed already, and goes once nothing runs on it."
        return Question(title, _lines(cost, waits, cut), (now, _CANCEL), default=_CANCEL)
    drain = Choice("d", "Drain, then remove", gently)
    after = "Drain gives it nothing new and removes it once nothing runs on it."
    return Question(title, _lines(cost, last, after, cut), (drain, now, _CANCEL), default=drain)


def _abort(asked: Abort, snapshot: Snapshot | None) -> Question:
    shown = () if snapshot is None else snapshot.requests
    focus = None if snapshot is None else snapshot.focus
    among = (*shown, *(() if focus is None else focus.requests))
    found = next((one for one in among if one.request_id == asked.request_id), None)
    if found is None:
        return _yes_or_no(f"Abort {asked.request_id}?", "What it generated is lost.", asked)
    worker = worker_of(snapshot, found.worker_id or "")
    where = "waiting for a worker" if worker is None else f"on {short_url(worker.url)}"
    runs = f"{found.path} of tenant {found.tenant}, {where}, for {fmt.age(found.age_s)}."
    sent = "What it generated is lost."
    if found.bytes_out:
        were = "was" if found.bytes_out == 1 else "were"
        sent = f"{counted(found.bytes_out, 'byte')} of its answer {were} sent; the rest is lost."
    name = found.rids[0] if len(found.rids) == 1 else asked.request_id
    return _yes_or_no(f"Abort {name}?", _lines(runs, sent), asked)


def _clear(asked: ClearNamespace, snapshot: Snapshot | None) -> Question:
    cache = None if snapshot is None else snapshot.token_cache
    held = None if cache is None else cache.namespaces.get(asked.tenant)
    lost = "Its conversations go on, but what was generated before cannot be trained on."
    cost = ""
    if held is not None:
        trajectories = counted(held.trajectories, "trajectory", "trajectories")
        cost = f"{trajectories} with {counted(held.tokens, 'token')} will be deleted."
    return _yes_or_no(f"Clear the token cache of {asked.tenant}?", _lines(cost, lost), asked)


def _quit(snapshot: Snapshot | None) -> Question | None:
    totals = None if snapshot is None else snapshot.totals
    if totals is None or not totals.inflight + totals.queued:
        return None
    running = [_in_flight(totals.inflight)] if totals.inflight else []
    waiting = [f"{counted(totals.queued, 'request')} waiting"] if totals.queued else []
    cost = ", ".join((*running, *waiting)) + "."
    ends = f"The router stops too: what has not finished {_grace(snapshot)} is cut."
    return _yes_or_no("Quit?", _lines(cost, ends), Quit(), key="y,q,ctrl+c")


def _grace(snapshot: Snapshot | None) -> str:
    grace_s = None if snapshot is None else snapshot.shutdown_grace_s
    if grace_s is None:
        return "within its grace period"
    return f"in {grace_s:g} s" if grace_s else "by then"


def _in_flight(count: int) -> str:
    return f"{counted(count, 'request')} in flight"


def _lines(*sentences: str) -> str:
    return "\n".join(_safe(sentence) for sentence in sentences if sentence)


def _safe(text: str) -> str:
    """Names of workers, tenants and requests are what others wrote."""
    return UNICODE.safe(text)
