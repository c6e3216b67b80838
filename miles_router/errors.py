"""Every error the router can answer with, in one tree.

Each class fixes its HTTP `status`, its stable `code` (in JSON, metrics and logs) and its `blame`.
`web.replies` is the only place that turns one into HTTP; `net.tolerance` is the only place that
turns a foreign exception into one.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Blame = Literal["client", "worker", "router", "operator"]


class RouterError(Exception):
    """Base of all errors: a message for people, details for programs."""

    status: ClassVar[int] = 500
    code: str = "internal_error"
    blame: ClassVar[Blame] = "router"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the answer, beside its body."""
        return {}


class ClientFault(RouterError):
    """The request cannot be served as it is."""

    status = 400
    code = "bad_request"
    blame: ClassVar[Blame] = "client"


class BadRequest(ClientFault):
    """A malformed request; nothing of it was forwarded."""


class Unauthorized(ClientFault):
    """No credential, or one that is not known."""

    status = 401
    code = "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        """The challenge that RFC 9110, 11.6.1 asks for."""
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(ClientFault):
    """A known caller without the role that the route needs."""

    status = 403
    code = "forbidden"


class UrlRefused(ClientFault):
    """A worker URL that breaks a rule; `rule` names it."""

    code = "url_refused"

    def __init__(self, message: str, *, rule: str) -> None:
        super().__init__(message, rule=rule)
        self.rule = rule


class UnknownWorker(ClientFault):
    """No worker has this id or URL."""

    status = 404
    code = "worker_not_found"


class NotFound(ClientFault):
    """The router has no such route."""

    status = 404
    code = "not_found"


class TrajectoryNotFound(ClientFault):
    """The caller's namespace never had this text, or has no trajectory with this id."""

    status = 404
    code = "trajectory_not_found"


class TrajectoryEvicted(ClientFault):
    """It was stored, and had to go: for memory, age or old weights, or because it was deleted."""

    status = 410
    code = "trajectory_evicted"


class TokenCacheOff(ClientFault):
    """The router runs without the token cache."""

    status = 404
    code = "token_cache_off"


class MethodNotAllowed(ClientFault):
    """The route exists, for other methods."""

    status = 405
    code = "method_not_allowed"


class Conflict(ClientFault):
    """The request does not fit the state the worker is in."""

    status = 409
    code = "illegal_transition"


class TooLarge(ClientFault):
    """The body is larger than `--max-body-bytes`."""

    status = 413
    code = "body_too_large"


class UpgradeRefused(ClientFault):
    """Protocol upgrades (WebSocket, h2c) are not relayed."""

    status = 501
    code = "upgrade_unsupported"


class PdUnsupported(ClientFault):
    """Prefill and decode workers are not supported."""

    code = "pd_unsupported"


class Unavailable(RouterError):
    """The router cannot serve the request at this moment."""

    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: float | None = None, **details: object):
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """`Retry-After` in whole seconds, at least 1."""
        if self.retry_after_s is None:
            return {}
        return {"Retry-After": str(max(1, round(self.retry_after_s)))}


class NoWorker(Unavailable):
    """No worker became available within `--queue-timeout-s`."""

    code = "no_available_worker"


class QueueFull(Unavailable):
    """More than `--queue-size` requests are waiting."""

    status = 429
    code = "queue_full"


class CannotDial(Unavailable):
    """The router's own system grants no further connection; no worker was asked."""

    code = "router_cannot_connect"


class ShuttingDown(Unavailable):
    """The router is stopping and takes nothing new."""

    code = "shutting_down"


class RequestAborted(RouterError):
    """`/abort_request` named this request while it waited for a worker."""

    status = 409
    code = "request_aborted"
    blame: ClassVar[Blame] = "client"

    @property
    def headers(self) -> dict[str, str]:
        """OpenAI's clients repeat a request that got a 409, unless this tells them not to."""
        return {"X-Should-Retry": "false"}


class WorkerFault(RouterError):
    """A worker failed; `sent` says whether it may have seen the request."""

    status = 502
    code = "worker_failed"
    blame: ClassVar[Blame] = "worker"
    sent: ClassVar[bool] = True


class DialFailed(WorkerFault):
    """No connection: refused, unreachable, TLS refused. Nothing was sent."""

    sent = False


class DialTimeout(WorkerFault):
    """No connection within `--connect-timeout-s`. Nothing was sent."""

    sent = False


class WorkerBroke(WorkerFault):
    """The connection died, or the answer was not HTTP, before the first answer byte was relayed."""


class WorkerTimeout(WorkerFault):
    """The worker sent nothing within `--first-byte-timeout-s` or `--idle-timeout-s`."""

    status = 504
    code = "worker_timeout"


class NotAWorker(WorkerFault):
    """Something answers at the URL, but not as an inference worker."""

    code = "not_a_worker"


class WorkerNotActive(RouterError):
    """The worker did not become active within the time the caller gave it."""

    status = 504
    code = "worker_not_active"
    blame: ClassVar[Blame] = "worker"


class MiddlewareFailed(RouterError):
    """A middleware raised inside this request."""

    code = "middleware_failed"


class AnswerCut(Exception):
    """The answer cannot be completed: the client's connection must be cut, not ended."""


class IllegalTransition(RouterError):
    """The lifecycle table has no such step; nothing was changed."""

    status = 409
    code = "illegal_transition"
    blame: ClassVar[Blame] = "operator"


class ConfigFault(RouterError):
    """A setting that cannot be used; `key` names it. Raised at start-up only."""

    code = "config"
    blame: ClassVar[Blame] = "operator"

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key
