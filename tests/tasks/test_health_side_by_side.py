"""Probes side by side: none delays, doubles or ends another."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import structlog
import structlog.testing
import trio

from miles_router.core.worker import ProbeOutcome, ProbeReport, Worker
from miles_router.errors import CannotDial
from miles_router.tasks import health
from tests.doubles.relay_rig import RelayRig, open_rig

if TYPE_CHECKING:
    from miles_router.net.dial import Dialer

INTERVAL_S = 10.0
TIMEOUT_S = 30.0


class Probes:
    """Stands in for `net.probe.probe`: each takes 10 ms, or its whole time where it hangs."""

    def __init__(self) -> None:
        self.started: dict[str, list[float]] = {}
        self.outcomes: dict[str, ProbeOutcome] = {}
        self.hanging: set[str] = set()
        self.broken: set[str] = set()
        self.unsendable: set[str] = set()
        self.running: Counter[str] = Counter()
        self.asked_for: set[tuple[str, float]] = set()

    async def __call__(
        self, dialer: Dialer, worker: Worker, *, health_path: str, timeout_s: float
    ) -> ProbeReport:
        started_at = trio.current_time()
        self.asked_for.add((health_path, timeout_s))
        self.started.setdefault(worker.id, []).append(started_at)
        self.running[worker.id] += 1
        assert self.running[worker.id] == 1, "two probes of one worker at a time"
        try:
            if worker.id in self.broken:
                raise ZeroDivisionError("a mistake")
            if worker.id in self.unsendable:
                raise CannotDial("no descriptor")
            outcome = self.outcomes.get(worker.id, ProbeOutcome.PASSED)
            if worker.id in self.hanging:
                outcome = ProbeOutcome.TIMEOUT
            await trio.sleep(timeout_s if worker.id in self.hanging else 0.01)
            return ProbeReport(outcome, started_at, trio.current_time())
        finally:
            self.running[worker.id] -= 1

    def pauses_s(self, worker: Worker) -> list[float]:
        """The times between the starts of its probes."""
        times = self.started[worker.id]
        return [later - earlier for earlier, later in pairwise(times)]


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Probes:
    double = Probes()
    monkeypatch.setattr(health, "probe", double)
    return double


def added(rig: RelayRig) -> Worker:
    """A worker that nobody has probed yet."""
    rig.add(is_active=False)
    return rig.workers[-1]


def state_of(worker: Worker) -> str:
    return worker.state.value


async def test_a_new_worker_is_probed_at_once_and_serves(
    probes: Probes, autojump_clock: trio.abc.Clock
) -> None:
    async with open_rig(health_timeout_s=7.0, health_path="/health_generate") as rig:
        worker = added(rig)
        await rig.nursery.start(health.run, rig.services)
        await trio.sleep(0.1)
        assert state_of(worker) == "active"
        assert rig.services.metrics.probes == {"passed": 1}
        assert probes.asked_for == {("/health_generate", 7.0)}


async def test_a_worker_added_later_does_not_wait_for_the_next_round(
    probes: Probes, autojump_clock: trio.abc.Clock
) -> None:
    async with open_rig() as rig:
        await rig.nursery.start(health.run, rig.services)
        await trio.sleep(1.234)
        added_at = trio.current_time()
        worker = added(rig)
        await trio.sleep(0.1)
        assert probes.started[worker.id] == [pytest.approx(added_at)]
        assert state_of(worker) == "active"


async def test_one_that_hangs_delays_nobody(probes: Probes, autojump_clock: trio.abc.Clock) -> None:
    async with open_rig(health_interval_s=INTERVAL_S, health_timeout_s=TIMEOUT_S) as rig:
        hanging, fine = added(rig), added(rig)
        for worker in (hanging, fine):
            rig.passes(worker)
        probes.hanging.add(hanging.id)
        await rig.nursery.start(health.run, rig.services)
        await trio.sleep(3.5 * TIMEOUT_S)
        assert max(probes.pauses_s(fine)) <= 1.1 * INTERVAL_S + 0.001
        assert state_of(fine) == "active"
        # Its next probe was due while one was under way: it follows at once.
        assert probes.pauses_s(hanging) == pytest.approx([TIMEOUT_S] * 3)
        assert state_of(hanging) == "quarantined"


async def test_a_probe_that_is_wanted_during_another_follows_it(
    probes: Probes, autojump_clock: trio.abc.Clock
) -> None:
    async with open_rig(health_interval_s=1000.0, health_timeout_s=TIMEOUT_S) as rig:
        worker = added(rig)
        rig.passes(worker)
        probes.hanging.add(worker.id)
        await rig.nursery.start(health.run, rig.services)
        await trio.sleep(1)
        rig.services.pool.probe_soon(worker)
        await trio.sleep(1)
        assert len(probes.started[worker.id]) == 1
        await trio.sleep(TIMEOUT_S)
        assert probes.pauses_s(worker) == pytest.approx([TIMEOUT_S])


async def test_failures_in_a_row_quarantine_and_passes_bring_back(
    probes: Probes, autojump_clock: trio.abc.Clock
) -> None:
    async with open_rig(health_interval_s=INTERVAL_S, health_failures=3) as rig:
        worker, other = added(rig), added(rig)
        rig.passes(other)
        await rig.nursery.start(health.run, rig.services)
        await trio.sleep(0.1)
        probes.outcomes[worker.id] = ProbeOutcome.UNHEALTHY
        await trio.sleep(4 * INTERVAL_S)
        assert state_of(worker) == "quarantined"
        probes.outcomes.clear()
        await trio.sleep(3 * INTERVAL_S)
        assert state_of(worker) == "active"
        events = rig.services.events.since(0)
        states = [event.to_state for event in events if event.url == worker.url and event.to_state]
        assert states == [
            "joining",
            "active",
            "suspect",
            "quarantined",
            "probation",
            "active",
        ]


async def test_a_removed_worker_is_not_probed_any_more(
    probes: Probes, autojump_clock: trio.abc.Clock
) -> None:
    async with open_rig(health_interval_s=INTERVAL_S, health_timeout_s=TIMEOUT_S) as rig:
        worker = added(rig)
        probes.hanging.add(worker.id)
        await rig.nursery.start(health.run, rig.services)
        await trio.sleep(1)
        rig.services.pool.remove(worker, trio.current_time())
        await trio.sleep(10 * TIMEOUT_S)
        assert len(probes.started[worker.id]) == 1
        assert worker.last_probe is None


async def test_a_mistake_in_one_probe_is_a_bad_probe_of_that_worker_alone(
    probes: Probes, autojump_clock: trio.abc.Clock
) -> None:
    with structlog.testing.capture_logs() as logged:
        async with open_rig(health_interval_s=INTERVAL_S, health_failures=3) as rig:
            rig.services.log = structlog.get_logger()
            broken, fine = added(rig), added(rig)
            for worker in (broken, fine):
                rig.passes(worker)
            probes.broken.add(broken.id)
            await rig.nursery.start(health.run, rig.services)
            await trio.sleep(3.5 * INTERVAL_S)
            assert state_of(broken) == "quarantined"
            assert broken.last_probe is not None
            assert broken.last_probe.outcome is ProbeOutcome.BROKEN
            assert "ZeroDivisionError" in broken.last_probe.detail
            assert state_of(fine) == "active"
            assert max(probes.pauses_s(fine)) <= 1.1 * INTERVAL_S + 0.001
            probes.broken.clear()
            await trio.sleep(3 * INTERVAL_S)
            assert state_of(broken) == "active"
    failed = [line for line in logged if line["event"] == "probe_failed"]
    assert {line["worker"] for line in failed} == {broken.url}
    assert all(line["exc_info"] for line in failed)


async def test_what_the_router_cannot_send_counts_neither_way(
    probes: Probes, autojump_clock: trio.abc.Clock
) -> None:
    async with open_rig(health_interval_s=INTERVAL_S, health_failures=2) as rig:
        worker, other = added(rig), added(rig)
        await rig.nursery.start(health.run, rig.services)
        await trio.sleep(0.1)
        before = worker.last_probe
        probes.unsendable.add(worker.id)
        await trio.sleep(5 * INTERVAL_S)
        assert (state_of(worker), worker.failures_in_row) == ("active", 0)
        assert worker.last_probe is before
        assert not worker.is_probing
        assert rig.services.metrics.probes["not_sent"] == len(probes.started[worker.id]) - 1 > 3
        assert len(probes.started[other.id]) > 4
