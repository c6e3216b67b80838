"""Aborts of what nobody waits for any more: many at a time, and never the end of the router."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import structlog
import structlog.testing
import trio

from miles_router.core.inflight import InflightTable, RidIndex, Running
from miles_router.net import abort
from miles_router.net.abort import abort_abandoned
from miles_router.net.fanout import CALLS_PER_WORKER
from tests.doubles.relay_rig import RelayRig, open_rig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock as Clock

    from tests.doubles.worker_double import Peer, Seen

RIDS = tuple(f"batch_{index:03}" for index in range(200))


def answer_aborts(rig: RelayRig, *, after_s: float) -> list[int]:
    """Add a worker that takes `after_s` for an abort; how many it had at a time, at most."""
    most, running = [0], [0]
    double = rig.add()
    record = double.aborted.append

    async def slowly(peer: Peer, seen: Seen) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await trio.sleep(after_s)
        running[0] -= 1
        record(seen.json()["rid"])
        await peer.answer()

    double.answer = slowly
    double.answers_aborts = False
    return most


async def give_up(rig: RelayRig, rids: Sequence[str] = RIDS) -> None:
    abandoned = Running("req", "default", "/generate", trio.current_time(), rids=tuple(rids))
    await abort_abandoned(rig.services, rig.workers[0], tuple(rids), abandoned)


async def test_a_batch_is_aborted_within_two_seconds(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        most = answer_aborts(rig, after_s=0.02)
        began_at = trio.current_time()
        await give_up(rig)
        assert trio.current_time() - began_at < 0.5
        assert sorted(rig.doubles[0].aborted) == list(RIDS)
        assert most == [CALLS_PER_WORKER], "no more at a time than that"
        assert rig.services.metrics.aborts_sent == len(RIDS)
        await rig.assert_quiet()


async def test_a_worker_that_is_gone_is_not_asked_200_times(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add().is_hanging = True
        began_at = trio.current_time()
        await give_up(rig)
        assert trio.current_time() - began_at == pytest.approx(5.0, abs=0.1)
        assert rig.services.metrics.aborts_sent == 0


async def test_ids_that_others_share_are_not_sent(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add()
        other = Running("other", "default", "/generate", 0.0, rids=("job-10",))
        other.worker = rig.workers[0]
        rig.services.inflight.add(other)
        await give_up(rig, ("job-1", "job-2"))
        assert rig.doubles[0].aborted == ["job-2"]


async def test_ids_that_come_again_meanwhile_are_not_sent_either(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        answer_aborts(rig, after_s=0.02)
        again = Running("again", "default", "/generate", 0.0, rids=RIDS, worker=rig.workers[0])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up, rig)
            await trio.sleep(0.03)
            rig.services.inflight.add(again)
        assert len(rig.doubles[0].aborted) == 2 * CALLS_PER_WORKER


async def test_a_batch_looks_at_what_else_runs_a_few_times_only(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = InflightTable.others_on

    def counted(table: InflightTable, *args: Any, **named: Any) -> RidIndex:
        nonlocal looks
        looks += 1
        return look(table, *args, **named)

    monkeypatch.setattr(InflightTable, "others_on", counted)
    async with open_rig() as rig:
        answer_aborts(rig, after_s=0.001)
        await give_up(rig)
        assert len(rig.doubles[0].aborted) == len(RIDS)
    assert 0 < looks < len(RIDS) / 20


async def test_few_descriptors_slow_it_down(autojump_clock: Clock) -> None:
    with structlog.testing.capture_logs() as logged:
        async with open_rig() as rig:
            rig.services.log = structlog.get_logger()
            most = answer_aborts(rig, after_s=0.02)
            rig.dialer.free_descriptors = 3
            await give_up(rig)
            assert sorted(rig.doubles[0].aborted) == list(RIDS)
            assert most == [3]
    assert {line["event"] for line in logged} == {"abort_postponed"}


async def test_none_at_all_or_a_mistake_is_logged_and_over(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with structlog.testing.capture_logs() as logged:
        async with open_rig() as rig:
            rig.services.log = structlog.get_logger()
            rig.add()
            rig.dialer.free_descriptors = 0
            await give_up(rig)
            rig.dialer.free_descriptors = None
            assert logged[-1] == {
                "event": "aborts_not_sent",
                "worker": rig.workers[0].url,
                "count": len(RIDS),
                "log_level": "warning",
            }
            monkeypatch.setattr(abort, "abort_call", lambda rid: 1 / 0)
            await give_up(rig)
            assert rig.doubles[0].aborted == []
    assert "abort_failed" in {line["event"] for line in logged}
