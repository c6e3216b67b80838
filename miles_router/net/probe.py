"""One health probe: is the worker healthy, is it a worker at all, which weights does it serve?

Three questions on connections of their own: the health path, then the model (which also proves
that an inference worker answers, and not something else that happens to say 200). What the result
leads to is decided in `core.health`.

Sources: SGLang 0.5.23 answers /health with an empty 200 after generating one token (1 s and more)
and names its weights in /model_info; up to 0.5.9 the route is /get_model_info; vLLM has neither
and lists /v1/models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from miles_router.core.auth import may_register
from miles_router.core.headers import WORKER_HEADER, first
from miles_router.core.worker import ProbeOutcome, ProbeReport
from miles_router.errors import (
    DialFailed,
    DialTimeout,
    NotAWorker,
    UrlRefused,
    WorkerFault,
    WorkerTimeout,
)
from miles_router.net.call import Call, Reply, call_worker

if TYPE_CHECKING:
    from miles_router.core.urlrules import Address
    from miles_router.core.worker import Worker
    from miles_router.net.dial import Dialer

MODEL_PATHS = ("/model_info", "/get_model_info")
MODEL_KEYS = frozenset({"model_path", "weight_version", "is_generation", "served_model_name"})
# Flags are read without touching the engine; a worker that needs longer is not merely paused.
PAUSE_TIMEOUT_S = 2.0
_MAY_BE_PAUSED = frozenset({ProbeOutcome.TIMEOUT, ProbeOutcome.UNHEALTHY})


class _Unhealthy(Exception):
    pass


async def probe(
    dialer: Dialer, worker: Worker, *, health_path: str, timeout_s: float
) -> ProbeReport:
    """Probe `worker` once. A fault is never raised: it is the report. Cancellation: no report.

    Raises:
        CannotDial: the router could not ask, which says nothing about the worker.
    """
    started_at = trio.current_time()
    model: dict[str, object] = {}
    detail = ""
    try:
        with trio.fail_after(timeout_s):
            worker.addresses = await _resolve(dialer, worker)
            await _check_health(dialer, worker, health_path)
            model = await _read_model(dialer, worker)
        outcome = ProbeOutcome.PASSED
    except (trio.TooSlowError, WorkerTimeout):
        outcome, detail = ProbeOutcome.TIMEOUT, f"no answer within {timeout_s:g} s"
    except DialTimeout as error:
        outcome, detail = ProbeOutcome.TIMEOUT, error.message
    except (DialFailed, UrlRefused) as error:
        outcome, detail = ProbeOutcome.UNREACHABLE, error.message
    except NotAWorker as error:
        outcome, detail = ProbeOutcome.NOT_A_WORKER, error.message
    except WorkerFault as error:
        outcome, detail = ProbeOutcome.BROKEN, error.message
    except _Unhealthy as error:
        outcome, detail = ProbeOutcome.UNHEALTHY, str(error)
    if outcome in _MAY_BE_PAUSED and await _is_paused(dialer, worker):
        outcome, detail = ProbeOutcome.PAUSED, "its generation is paused"
    return ProbeReport(
        outcome=outcome,
        started_at=started_at,
        finished_at=trio.current_time(),
        detail=detail,
        weight_version=_text(model.get("weight_version")),
        model_path=_text(model.get("model_path")),
    )


async def _resolve(dialer: Dialer, worker: Worker) -> tuple[Address, ...]:
    """The worker's addresses today.

    Raises:
        UrlRefused: one is not allowed, also by the network that the worker registered from.
    """
    addresses = await dialer.resolve(worker.spec.url)
    within = worker.spec.within
    if within and not may_register(addresses[0], addresses, within):
        raise UrlRefused(f"{worker.url} left the network it registered from", rule="network")
    return addresses


async def _is_paused(dialer: Dialer, worker: Worker) -> bool:
    """Whether somebody paused generation on `worker`, which leaves its /health without an answer.

    SGLang 0.5.23: /ping and /ready are the same flag, but while paused only /ready says 503. Older
    builds have neither route.
    """
    statuses = []
    for path in ("/ping", "/ready"):
        try:
            reply = await call_worker(dialer, worker, Call("GET", path), timeout_s=PAUSE_TIMEOUT_S)
        except WorkerFault:
            return False
        statuses.append(reply.status)
    return statuses == [200, 503]


async def _check_health(dialer: Dialer, worker: Worker, health_path: str) -> None:
    reply = await call_worker(dialer, worker, Call("GET", health_path), timeout_s=None)
    _refuse_router(worker, reply)
    if reply.status != 200:
        raise _Unhealthy(f"GET {health_path} answered {reply.status}")


async def _read_model(dialer: Dialer, worker: Worker) -> dict[str, object]:
    """What the worker says of its model.

    Raises:
        NotAWorker: none of the routes that an inference worker has answers as it would.
    """
    for path in MODEL_PATHS:
        reply = await call_worker(dialer, worker, Call("GET", path), timeout_s=None)
        _refuse_router(worker, reply)
        info = reply.json() if reply.status == 200 else None
        if isinstance(info, dict) and not MODEL_KEYS.isdisjoint(info):
            return info
        if reply.status in {401, 403}:
            raise NotAWorker(
                f"{worker.url}: GET {path} answered {reply.status}: register it with its api_key"
            )
    reply = await call_worker(dialer, worker, Call("GET", "/v1/models"), timeout_s=None)
    listing = reply.json() if reply.status == 200 else None
    if isinstance(listing, dict) and isinstance(listing.get("data"), list):
        return {}
    raise NotAWorker(
        f"{worker.url} answers, but not as an inference worker: "
        f"neither GET {MODEL_PATHS[0]} nor GET /v1/models describes a model"
    )


def _refuse_router(worker: Worker, reply: Reply) -> None:
    """A router in the place of a worker would pass requests on in a circle.

    What it relays carries `X-Miles-Worker`, and its own /health, unlike an engine's, lists workers.
    """
    health = reply.json() if reply.body else None
    if first(reply.headers, WORKER_HEADER) is not None or (
        isinstance(health, dict) and "healthy_workers" in health
    ):
        raise NotAWorker(f"{worker.url} is a router, not a worker")


def _text(value: object) -> str | None:
    """A version or path as a string; older builds and other engines may send a number."""
    if value is None or isinstance(value, str):
        return value
    return str(value)
