"""The parts of a router as its settings want them."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import structlog.testing
import trio

from miles_router.assemble import add_configured_workers, assemble
from miles_router.config import Settings
from miles_router.core.lifecycle import State
from miles_router.core.worker import ProbeOutcome, ProbeReport
from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from miles_router.net.services import Services


@asynccontextmanager
async def assembled(
    logger: structlog.testing.CapturingLogger | None = None, **settings: Any
) -> AsyncIterator[Services]:
    log = structlog.wrap_logger(logger or structlog.testing.CapturingLogger(), processors=[])
    async with trio.open_nursery() as nursery:
        yield assemble(Settings(**settings), background=nursery, log=log, rng=random.Random(1))
        assert not nursery.child_tasks  # nothing was started


async def test_the_parts_know_each_other() -> None:
    async with assembled(queue_size=7, max_inflight_per_worker=3) as services:
        assert services.pool.admission is services.admission
        assert services.pool.events is services.events
        assert not services.is_stopping
        assert services.started_at <= trio.current_time()


async def test_two_routers_have_different_boot_ids() -> None:
    async with assembled() as one, assembled() as other:
        assert one.boot_id != other.boot_id


async def test_configured_workers_join_in_their_order() -> None:
    workers = ("http://127.0.0.1:2", "http://worker.test:1", "https://[::1]:3")
    async with assembled(workers=workers) as services:
        add_configured_workers(services)
        listed = services.pool.listed
        assert [worker.url for worker in listed] == list(workers)
        assert {worker.state for worker in listed} == {State.JOINING}
        # A name is resolved by its first probe; an address needs no resolving.
        assert [[str(a) for a in worker.addresses] for worker in listed] == [
            ["127.0.0.1"],
            [],
            ["::1"],
        ]
        assert services.pool.due_probes(trio.current_time()) == listed


async def test_a_worker_named_twice_is_one() -> None:
    workers = ("http://127.0.0.1:80", "http://127.0.0.1/")
    async with assembled(workers=workers) as services:
        add_configured_workers(services)
        assert [worker.url for worker in services.pool.listed] == ["http://127.0.0.1"]


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://169.254.169.254", "169.254.169.254"),
        ("http://192.0.2.1:30000", "--allow-worker"),
        ("ftp://127.0.0.1", "http://"),
        ("http://127.0.0.1/v1", "path"),
        ("http://user@127.0.0.1", "user name"),
        ("nonsense", "http"),
    ],
)
async def test_a_url_that_can_never_be_a_worker_is_refused_at_the_start(
    url: str, word: str
) -> None:
    async with assembled() as services:
        object.__setattr__(services.settings, "workers", ("http://127.0.0.1:1", url))
        with pytest.raises(ConfigFault) as caught:
            add_configured_workers(services)
        assert caught.value.key == "workers"
        assert caught.value.message.startswith(f"--worker {url}: ")
        assert word in caught.value.message


async def test_a_public_address_is_taken_where_it_is_allowed() -> None:
    settings: dict[str, Any] = {
        "workers": ("http://192.0.2.1",),
        "allow_workers": ("192.0.2.0/24",),
    }
    async with assembled(**settings) as services:
        add_configured_workers(services)
        assert [worker.url for worker in services.pool.listed] == ["http://192.0.2.1"]


async def test_health_settings_reach_the_pool() -> None:
    """One failed probe is enough where the settings say so."""
    async with assembled(workers=("http://127.0.0.1:1",), health_failures=1) as services:
        add_configured_workers(services)
        worker, now = services.pool.listed[0], trio.current_time()
        services.pool.note_probe(worker, ProbeReport(ProbeOutcome.PASSED, now, now), now)
        services.pool.note_probe(worker, ProbeReport(ProbeOutcome.UNREACHABLE, now, now), now)
        assert worker.state is State.QUARANTINED


async def test_events_are_logged_and_trouble_as_a_warning() -> None:
    logger = structlog.testing.CapturingLogger()
    settings: dict[str, Any] = {"workers": ("http://127.0.0.1:1",), "health_failures": 1}
    async with assembled(logger, **settings) as services:
        add_configured_workers(services)
        worker, now = services.pool.listed[0], trio.current_time()
        services.pool.note_probe(worker, ProbeReport(ProbeOutcome.UNREACHABLE, now, now), now)
        services.pool.note_probe(worker, ProbeReport(ProbeOutcome.PASSED, now, now), now)
        services.pool.note_probe(worker, ProbeReport(ProbeOutcome.UNREACHABLE, now, now), now)
        services.events.add("task_failed", "the health task failed", now)
        services.events.add("r3_refused", "rows of another width", now)
    said = [(call.method_name, call.kwargs["event"]) for call in logger.calls]
    assert said == [
        ("info", "worker_joining"),
        ("warning", "first_probe_failed"),
        ("info", "worker_active"),
        ("warning", "worker_quarantined"),
        ("warning", "task_failed"),
        ("warning", "r3_refused"),
    ]
    assert {call.kwargs["worker"] for call in logger.calls} == {"http://127.0.0.1:1", None}
