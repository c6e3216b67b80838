"""What the answers of a router behind HTTP mean, and what is wrong where they are none.

Pure: answers in, snapshots or `Trouble` out. No token is ever in a message. Fields that are not
known are passed over, those that an older router does not send have defaults.
"""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from miles_router import __version__
from miles_router.core.log_ring import LogLine  # noqa: TC001  msgspec reads the annotation
from miles_router.core.snapshot import Snapshot, Totals, WorkerView

NEEDS_TOKEN = "the admin token is needed: start with --admin-token-file"  # noqa: S105  no secret
WRONG_TOKEN = "the token that was given is not this router's admin token"  # noqa: S105


# What breaks below httpx without being turned into an error of its own. The packages are known by
# name: importing them for their classes would load them before there is a connection.
_BREAKS = (
    OSError,
    EOFError,
    UnicodeError,
    httpx.HTTPError,
    httpx.StreamError,
    httpx.InvalidURL,
    httpx.CookieConflict,
)
_BELOW_HTTP = frozenset({"anyio", "httpcore", "h11"})


def is_break(error: BaseException) -> bool:
    """Whether the way to the router failed, which is told and tried again; else it is a mistake."""
    if isinstance(error, _BREAKS):
        return True
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, Exception) and package in _BELOW_HTTP


class Trouble(Exception):
    """The router, or what answers in its place, cannot be shown; the message is for the screen."""


class Denied(Trouble):
    """It answers, but not to this caller."""


class LogPage(msgspec.Struct, frozen=True):
    """The answer of `/log`."""

    boot_id: str
    last_seq: int
    lines: tuple[LogLine, ...]


class _Listed(msgspec.Struct, frozen=True):
    """The answer of `/workers`."""

    workers: tuple[WorkerView, ...]


class _Boot(msgspec.Struct, frozen=True):
    """What every version's snapshot has."""

    boot_id: str
    version: str


_SNAPSHOT = msgspec.json.Decoder(Snapshot)
_LISTED = msgspec.json.Decoder(_Listed)
_LOG = msgspec.json.Decoder(LogPage)


def read_snapshot(url: str, status: int, body: bytes) -> Snapshot:
    """The snapshot in an answer of `/snapshot`.

    Raises:
        Denied: the caller is not the admin.
        Trouble: it is no snapshot.
    """
    _check_status(url, status, body)
    try:
        return _SNAPSHOT.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _unreadable(url, body) from None


def read_workers(url: str, status: int, body: bytes) -> Snapshot:
    """What an answer of `/workers` tells, as a snapshot: requests, events and totals are not known.

    Raises:
        Denied: not even the workers are shown to the caller.
        Trouble: it is no list of workers.
    """
    _check_status(url, status, body)
    try:
        workers = _LISTED.decode(body).workers
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _unreadable(url, body) from None
    states: dict[str, int] = {}
    for worker in workers:
        states[worker.status] = states.get(worker.status, 0) + 1
    inflight = sum(worker.inflight for worker in workers)
    newest = next((one.weight_version for one in workers if one.is_newest_version), None)
    return Snapshot(
        boot_id="",
        version="",
        uptime_s=0.0,
        is_stopping=False,
        newest_weight_version=newest,
        weight_versions=(),
        totals=_totals(workers, states, inflight),
        workers=workers,
        requests=(),
        token_cache=None,
        events=(),
        last_event_seq=0,
        url=url,
    )


def _totals(workers: tuple[WorkerView, ...], states: dict[str, int], inflight: int) -> Totals:
    return Totals(
        workers=len(workers),
        healthy_workers=sum(worker.is_healthy for worker in workers),
        states=states,
        inflight=inflight,
        queued=0,
        requests=sum(worker.served for worker in workers),
        responses={},
        retries=0,
        client_gone=0,
        cut_answers=0,
        bytes_in=0,
        bytes_out=0,
        sessions=0,
        loop_lag_p99_s=None,
        overhead_p50_s=None,
        overhead_p99_s=None,
    )


def read_log(url: str, status: int, body: bytes) -> LogPage:
    """The lines in an answer of `/log`.

    Raises:
        Trouble: there are none.
    """
    _check_status(url, status, body)
    try:
        return _LOG.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _unreadable(url, body) from None


def _check_status(url: str, status: int, body: bytes) -> None:
    if status == 200:
        return
    if status in {401, 403}:
        raise Denied(f"{url} asks for a token or key: start with --admin-token-file")
    if _is_json_object(body) and status >= 500:
        raise Trouble(f"the router at {url} answers {status}")
    raise Trouble(f"what answers at {url} ({status}) is not a miles-router")


def _unreadable(url: str, body: bytes) -> Trouble:
    try:
        version = msgspec.json.decode(body, type=_Boot).version
    except (msgspec.MsgspecError, UnicodeDecodeError):
        if not _is_json_object(body):
            return Trouble(f"what answers at {url} is not a miles-router")
        return Trouble(f"what answers at {url} is not a miles-router, or speaks another version")
    return Trouble(
        f"the router at {url} speaks another version: it is {version[:40]}, this UI {__version__}"
    )


def _is_json_object(body: bytes) -> bool:
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(value, dict)


def trouble_of(url: str, error: Exception, *, timeout_s: float) -> Trouble:
    """Why no answer came, where `error` is a break."""
    if isinstance(error, httpx.ConnectError):
        said = str(error)
        # What httpx says where the name was found and every address of it refused.
        reason = "" if said in {"", "All connection attempts failed"} else f" ({said})"
        return Trouble(f"no router answers at {url}{reason}")
    if isinstance(error, httpx.ConnectTimeout):
        return Trouble(f"no connection to {url} within {timeout_s:g} s")
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return Trouble(f"the router at {url} did not answer within {timeout_s:g} s")
    return Trouble(f"the connection to {url} broke ({type(error).__name__})")
