"""Commands as HTTP calls, and what the answers say, in one sentence each.

The router in this process and one behind a network are told the same calls and read the same way.
Pure: nothing is sent here. Only the fields named here are read; others are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import msgspec

from miles_router.core.counted import counted
from miles_router.tui.commands import (
    Abort,
    Add,
    ClearNamespace,
    CommandRefused,
    Drain,
    Probe,
    Quarantine,
    Release,
    Remove,
    Sweep,
    Undrain,
)
from miles_router.tui.names import short_url

if TYPE_CHECKING:
    from miles_router.tui.commands import Command

_Shape = TypeVar("_Shape")

# Most commands are answered from memory. A probe waits for its worker (at most
# `--health-timeout-s`), a sweep and a deletion for all that they remove.
QUICK_TIMEOUT_S = 10.0
SLOW_TIMEOUT_S = 60.0
_STEPS = {Drain: "drain", Undrain: "undrain", Quarantine: "quarantine", Release: "release"}


@dataclass(frozen=True, slots=True)
class WireCall:
    """One request: `target` is path and query, `body` is JSON, or empty."""

    method: str
    target: str
    body: bytes = b""
    timeout_s: float = QUICK_TIMEOUT_S


def call_for(command: Command) -> WireCall:
    """The call that carries out `command`.

    Raises:
        CommandRefused: no call can name what it names.
    """
    try:
        return _call_for(command)
    except UnicodeEncodeError:
        raise CommandRefused("this holds characters that cannot be sent") from None


def _call_for(command: Command) -> WireCall:
    match command:
        case Drain(worker_id) | Undrain(worker_id) | Quarantine(worker_id) | Release(worker_id):
            return WireCall("POST", f"{_worker(worker_id)}/{_STEPS[type(command)]}")
        case Remove(worker_id, cuts):
            return WireCall("DELETE", _worker(worker_id) + ("?deadline_s=0" if cuts else ""))
        case Probe(worker_id):
            return WireCall("POST", f"{_worker(worker_id)}/probe", timeout_s=SLOW_TIMEOUT_S)
        case Add(url):
            return _post("/workers", url=url)
        case Abort(request_id):
            return _post("/abort_request", request_id=request_id)
        case Sweep():
            return WireCall("POST", "/cache/gc", timeout_s=SLOW_TIMEOUT_S)
        case ClearNamespace(tenant):
            target = f"/trajectories?tenant={quote(tenant, safe='')}"
            return WireCall("DELETE", target, timeout_s=SLOW_TIMEOUT_S)


def _worker(worker_id: str) -> str:
    return f"/workers/{quote(worker_id, safe='')}"


def _post(target: str, **fields: str) -> WireCall:
    return WireCall("POST", target, msgspec.json.encode(fields))


class _Fault(msgspec.Struct):
    message: str


class _FaultAnswer(msgspec.Struct):
    error: _Fault | str


class _Check(msgspec.Struct):
    outcome: str
    duration_s: float = 0.0
    detail: str | None = None


class _Worker(msgspec.Struct):
    url: str
    status: str
    inflight: int = 0
    reason: str = ""
    last_probe: _Check | None = None


class _Accepted(msgspec.Struct):
    url: str


class _Asked(msgspec.Struct):
    error: _Fault | None = None


class _Aborted(msgspec.Struct):
    matched: int
    success: bool = True
    results: list[_Asked] = []


class _Swept(msgspec.Struct):
    removed_turns: int


class _Deleted(msgspec.Struct):
    deleted: int


def fault_in(status: int, body: bytes) -> str:
    """The message of an error answer, or what can be said without one."""
    try:
        error = msgspec.json.decode(body, type=_FaultAnswer).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return f"the answer was {status}, which is not what a miles-router says"
    return error if isinstance(error, str) else error.message


def sentence_for(command: Command, status: int, body: bytes) -> str:
    """What the answer to `command` says was done.

    Raises:
        CommandRefused: it was not done; the message is the router's own.
    """
    if isinstance(command, Abort):
        return _abort_sentence(status, body)
    if not 200 <= status < 300:
        raise CommandRefused(fault_in(status, body))
    match command:
        case Remove():
            name = short_url(_read(body, _Accepted).url)
            if command.cuts:
                return f"{name} is removed; what ran on it is cut"
            return f"{name} gets nothing new and goes when nothing runs on it"
        case Add():
            name = short_url(_read(body, _Accepted).url)
            return f"{name} is registered; it serves when a health check has passed"
        case Probe():
            return _check_sentence(_read(body, _Worker))
        case Sweep():
            removed = _read(body, _Swept).removed_turns
            return (
                f"garbage collection removed {counted(removed, 'turn') if removed else 'nothing'}"
            )
        case ClearNamespace(tenant):
            deleted = counted(_read(body, _Deleted).deleted, "trajectory", "trajectories")
            return f"deleted {deleted} of {tenant}"
    return _state_sentence(_read(body, _Worker))


def _read(body: bytes, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise CommandRefused(
            "the router took it, but this UI does not understand its answer: another version?"
        ) from None


def _state_sentence(worker: _Worker) -> str:
    name = short_url(worker.url)
    match worker.status:
        case "draining":
            return f"{name} is draining: {counted(worker.inflight, 'request')} in flight"
        case "drained":
            return f"{name} is drained: nothing runs on it"
        case "probation":
            return f"{name} is on probation: it serves when its health checks have passed"
        case "active":
            return f"{name} is active: it serves"
    return f"{name} is {worker.status}" + (f": {worker.reason}" if worker.reason else "")


def _check_sentence(worker: _Worker) -> str:
    name, check = short_url(worker.url), worker.last_probe
    if check is None:
        return f"{name} was not checked; it is {worker.status}"
    took = f"{check.duration_s * 1000:,.0f} ms"
    if check.outcome == "passed":
        return f"{name} passed its check in {took}; it is {worker.status}"
    detail = f": {check.detail}" if check.detail else ""
    outcome = check.outcome.replace("_", " ")
    return f"{name} failed its check ({outcome}, {took}){detail}; it is {worker.status}"


def _abort_sentence(status: int, body: bytes) -> str:
    """An abort tells workers; where one does not take it, the answer is an error with results."""
    if not (200 <= status < 300 or status == 502):
        raise CommandRefused(fault_in(status, body))
    try:
        answer = msgspec.json.decode(body, type=_Aborted)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise CommandRefused(fault_in(status, body)) from None
    if not answer.matched:
        raise CommandRefused("this request does not run any more")
    if not answer.success:
        why = next((one.error.message for one in answer.results if one.error), "it refused")
        raise CommandRefused(f"the worker did not take the abort: {why}")
    return "the request is aborted"
