"""A typed client for a running router: what the command line, examples and tests talk through.

Synchronous httpx, one connection pool, no proxy or netrc from the environment. Every failure, from
a refused connection to an error answer, is one `RouterCallFailed`. It must not know how a router
works inside; it reads only fields it names and ignores the rest.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

DEFAULT_URL = "http://127.0.0.1:30000"
# A router answers admin calls from memory; more than this means that it hangs.
_CALL_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 5.0
# As long as a router lets a probe take at most (--health-timeout-s), and its answer.
_PROBE_S = 60.0
_POLL_S = 0.2

_Result = TypeVar("_Result")


class RouterCallFailed(Exception):
    """A call that brought no result.

    `code` is the router's own, or one of: `no_router` (nothing answers), `router_timeout`,
    `not_a_router` (something else answers), `bad_url`, `bad_request` (no HTTP can carry what was
    to be asked, or the router refuses it), `call_failed`, `wait_timeout`.
    `status` is the HTTP status, None without an answer.
    """

    def __init__(self, message: str, *, code: str, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status


class Probe(msgspec.Struct, frozen=True):
    """The last health check of a worker."""

    outcome: str
    age_s: float
    detail: str | None = None


class Worker(msgspec.Struct, frozen=True):
    """A worker as the router sees it."""

    id: str
    url: str
    status: str
    is_healthy: bool
    load: int
    inflight: int
    weight_version: str | None = None
    served: int = 0
    errors: int = 0
    failures_in_row: int = 0
    last_probe: Probe | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    worker_type: str | None = None
    since_s: float | None = None
    reason: str | None = None


class WorkerList(msgspec.Struct, frozen=True):
    """All workers, in order of registration."""

    workers: tuple[Worker, ...]
    total: int
    stats: dict[str, Any] = msgspec.field(default_factory=dict)


class Added(msgspec.Struct, frozen=True):
    """A worker that the router took in; `status` is `accepted` until it has been probed."""

    worker_id: str
    url: str
    status: str
    location: str | None = None


class _Fault(msgspec.Struct, frozen=True):
    code: str
    message: str


class _FaultAnswer(msgspec.Struct, frozen=True):
    error: _Fault


class RouterClient:
    """Calls one router; use it as a context manager.

    A `worker` argument is an id or a URL. `last_body` holds the last answer as it came.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        admin_token: str | None = None,
        timeout_s: float = _CALL_TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.last_body = b""
        self._timeout_s = timeout_s
        _check_url(url)
        headers = {} if admin_token is None else {"Authorization": f"Bearer {admin_token}"}
        try:
            self._http = httpx.Client(
                base_url=self.url, headers=headers, trust_env=False, transport=transport
            )
        except httpx.InvalidURL as error:
            raise RouterCallFailed(f"{url!r} is not a URL: {error}", code="bad_url") from None
        except UnicodeEncodeError:
            raise RouterCallFailed(
                "the admin token has characters outside ASCII; a header cannot carry them",
                code="bad_request",
            ) from None

    def __enter__(self) -> RouterClient:
        """Open the connection pool."""
        self._http.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        self._http.__exit__(kind, error, trace)

    def workers(self) -> WorkerList:
        """All workers."""
        return self._call("GET", "/workers", WorkerList)

    def worker(self, worker: str) -> Worker:
        """One worker."""
        return self._call("GET", _path(worker), Worker)

    def add(
        self,
        url: str,
        *,
        api_key: str | None = None,
        labels: Mapping[str, str] | None = None,
        wait_s: float | None = None,
    ) -> Added:
        """Add the worker at `url`; with `wait_s`, answer only when it takes requests.

        Raises:
            RouterCallFailed: refused, or (`worker_not_active`) not ready within `wait_s`.
        """
        body = {"url": url, "api_key": api_key, "labels": labels}
        return self._call(
            "POST",
            "/workers" if wait_s is None else f"/workers?wait={wait_s:g}",
            Added,
            body={name: value for name, value in body.items() if value},
            extra_s=wait_s or 0.0,
        )

    def remove(self, worker: str, *, deadline_s: float | None = None) -> None:
        """Remove a worker: it gets nothing new; what still runs after `deadline_s` is cut."""
        query = "" if deadline_s is None else f"?deadline_s={deadline_s:g}"
        self._call("DELETE", _path(worker) + query, dict[str, Any])

    def probe(self, worker: str) -> Worker:
        """Check a worker's health now; the worker as it is after that."""
        return self._call("POST", _path(worker, "probe"), Worker, extra_s=_PROBE_S)

    def drain(self, worker: str, *, deadline_s: float | None = None) -> Worker:
        """Give a worker nothing new; requests still running after `deadline_s` are cut."""
        return self._call("POST", _path(worker, "drain"), Worker, body={"deadline_s": deadline_s})

    def undrain(self, worker: str) -> Worker:
        """Let a draining or drained worker take requests again."""
        return self._call("POST", _path(worker, "undrain"), Worker)

    def quarantine(self, worker: str, *, reason: str | None = None) -> Worker:
        """Take a worker out until it is released."""
        return self._call("POST", _path(worker, "quarantine"), Worker, body={"reason": reason})

    def release(self, worker: str) -> Worker:
        """Put a quarantined worker on probation."""
        return self._call("POST", _path(worker, "release"), Worker)

    def snapshot(self) -> dict[str, Any]:
        """Everything the router shows about itself."""
        return self._call("GET", "/snapshot", dict[str, Any])

    def wait_for(self, worker: str, status: str, *, timeout_s: float) -> Worker:
        """Ask until `worker` has this status.

        Raises:
            RouterCallFailed: `wait_timeout` after `timeout_s`.
        """
        if math.isnan(timeout_s):
            raise RouterCallFailed("timeout_s must be a number of seconds", code="bad_request")
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.worker(worker)
            if found.status == status:
                return found
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise RouterCallFailed(
                    f"{worker} is {found.status}, not {status}, after {timeout_s:g} s "
                    f"({found.inflight} requests inflight)",
                    code="wait_timeout",
                )
            time.sleep(min(_POLL_S, left_s))

    def _call(
        self,
        method: str,
        path: str,
        result: type[_Result],
        *,
        body: dict[str, Any] | None = None,
        extra_s: float = 0.0,
    ) -> _Result:
        timeout = httpx.Timeout(self._timeout_s + extra_s, connect=_CONNECT_TIMEOUT_S)
        try:
            answer = self._http.request(method, path, json=body, timeout=timeout)
        except httpx.HTTPError as error:
            raise self._unanswered(error) from error
        except (ValueError, httpx.InvalidURL) as error:  # also UnicodeEncodeError, and nan in JSON
            raise RouterCallFailed(f"{path} cannot be asked: {error}", code="bad_request") from None
        self.last_body = answer.content
        if not answer.is_success:
            raise self._refused(answer)
        try:
            return msgspec.json.decode(answer.content, type=result)
        except msgspec.MsgspecError:
            raise self._not_a_router(answer) from None

    def _unanswered(self, error: httpx.HTTPError) -> RouterCallFailed:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return RouterCallFailed(
                f"no router answers at {self.url}; start one with miles-router serve, "
                "or name another with --url",
                code="no_router",
            )
        if isinstance(error, httpx.TimeoutException):
            return RouterCallFailed(
                f"the router at {self.url} did not answer in time", code="router_timeout"
            )
        return RouterCallFailed(f"the call to {self.url} failed: {error}", code="call_failed")

    def _refused(self, answer: httpx.Response) -> RouterCallFailed:
        try:
            fault = msgspec.json.decode(answer.content, type=_FaultAnswer).error
        except msgspec.MsgspecError:
            return self._not_a_router(answer)
        return RouterCallFailed(fault.message, code=fault.code, status=answer.status_code)

    def _not_a_router(self, answer: httpx.Response) -> RouterCallFailed:
        return RouterCallFailed(
            f"{self.url} answers {answer.status_code}, but not as a miles-router does; check --url",
            code="not_a_router",
            status=answer.status_code,
        )


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise RouterCallFailed(f"{url!r} is not a URL; write http://HOST:PORT", code="bad_url")


def _path(worker: str, action: str = "") -> str:
    path = f"/workers/{quote(worker, safe='', errors='surrogateescape')}"
    return f"{path}/{action}" if action else path
