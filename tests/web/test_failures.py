"""What the log says of an error that the router answered, by its request id."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import structlog.testing

from tests.web.rig import ADMIN, SHORT, Rig, open_router, open_sims

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ID = {"X-Request-Id": "ask-me-about-this"}
GONE = "http://127.0.0.1:1"
SECRET_PROMPT = {"text": "a prompt that nobody may read", "sampling_params": {"max_new_tokens": 3}}


class LoggedRig:
    """A router, and what it logged of one request."""

    def __init__(self, rig: Rig, logger: structlog.testing.CapturingLogger) -> None:
        self.rig = rig
        self.client = rig.client
        self._logger = logger

    def about(self, request_id: str = ID["X-Request-Id"]) -> list[tuple[str, dict[str, Any]]]:
        """Level and fields of every warning and error with this id."""
        return [
            (call.method_name, call.kwargs)
            for call in self._logger.calls
            if call.kwargs.get("request_id") == request_id
            and call.method_name in {"warning", "error"}
        ]


@asynccontextmanager
async def open_logged(**settings: Any) -> AsyncIterator[LoggedRig]:
    logger = structlog.testing.CapturingLogger()
    log = structlog.wrap_logger(logger, processors=[])
    async with open_router(log=log, **settings) as rig:
        yield LoggedRig(rig, logger)


async def test_a_worker_that_cannot_be_reached() -> None:
    async with open_logged(retries=0) as logged:
        logged.rig.join(GONE)
        answer = await logged.client.request("POST", "/generate", SECRET_PROMPT, ID)
        assert (answer.status, answer.error["code"]) == (502, "worker_failed")
        [(level, said)] = logged.about()
        assert (level, said["event"]) == ("warning", "error_answered")
        assert (said["code"], said["status"], said["path"]) == ("worker_failed", 502, "/generate")
        assert said["why"] == answer.error["message"]
        assert GONE in said["why"]
        assert "nobody may read" not in repr(logged._logger.calls)


async def test_no_worker_and_a_full_queue() -> None:
    async with open_logged(queue_timeout_s=0) as logged:
        assert (await logged.client.request("POST", "/generate", SHORT, ID)).status == 503
        assert [said["code"] for _, said in logged.about()] == ["no_available_worker"]
    async with open_logged(queue_size=0) as logged:
        assert (await logged.client.request("POST", "/generate", SHORT, ID)).status == 429
        assert [said["code"] for _, said in logged.about()] == ["queue_full"]


@pytest.mark.parametrize("target", ["/workers?wait=0", "/pause_generation?worker=" + GONE])
async def test_routes_of_the_routers_own_and_engine_control(target: str) -> None:
    async with open_logged() as logged:
        logged.rig.add(GONE)
        answer = await logged.client.request("POST", target, {"url": GONE}, ID)
        assert answer.status >= 500
        [(level, said)] = logged.about()
        assert (level, said["status"], said["code"]) == (
            "warning",
            answer.status,
            answer.error["code"],
        )
        assert said["path"] == target.partition("?")[0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/add_worker", 400),
        ("GET", "/workers/nobody", 404),
        ("PUT", "/livez", 405),
        ("POST", "/snapshot", 401),
        ("POST", "/pause_generation?worker=nobody", 401),
    ],
)
async def test_what_a_caller_did_wrong_it_was_told(method: str, path: str, status: int) -> None:
    async with open_logged(admin_token=ADMIN) as logged:
        client = logged.client if status == 401 else logged.rig.as_caller(ADMIN)
        assert (await client.request(method, path, None, ID)).status == status
        assert logged.about() == []


async def test_a_mistake_with_a_traceback_is_one_line() -> None:
    async with open_logged() as logged:
        services = logged.rig.services

        def fail(*_: object) -> None:
            raise LookupError("a mistake")

        services.pool.find = fail  # type: ignore[method-assign,assignment]  # breaks
        answer = await logged.client.request("GET", "/workers/w1", None, ID)
        assert (answer.status, answer.error["code"]) == (500, "internal_error")
        [(level, said)] = logged.about()
        assert (level, said["event"]) == ("error", "request_failed")
        assert services.metrics.errors["internal_error"] == 1


@pytest.mark.loopback
async def test_an_answer_that_is_fine_is_no_news() -> None:
    async with open_sims(1) as [sim], open_logged() as logged:
        logged.rig.join(sim.url)
        assert (await logged.client.request("POST", "/generate", SHORT, ID)).status == 200
        assert logged.about() == []
