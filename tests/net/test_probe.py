"""What a probe makes of what a worker answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.core.worker import ProbeOutcome, ProbeReport
from miles_router.errors import CannotDial
from miles_router.net.probe import probe
from tests.doubles.relay_rig import RelayRig, open_rig

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from tests.doubles.worker_double import Peer, Seen

MODEL = b'{"model_path": "m", "weight_version": 7}'
NO_UTF8 = b'{"model_path": "\xff"}'


async def not_found(peer: Peer, _seen: Seen) -> None:
    await peer.answer(b"{}", status=404)


async def run_probe(rig: RelayRig, timeout_s: float = 30.0) -> ProbeReport:
    return await probe(
        rig.services.dialer, rig.workers[0], health_path="/health", timeout_s=timeout_s
    )


@pytest.mark.parametrize(
    ("routes", "outcome", "version"),
    [
        ({"/health": (200, b""), "/model_info": (200, MODEL)}, ProbeOutcome.PASSED, "7"),
        ({"/health": (200, b""), "/get_model_info": (200, MODEL)}, ProbeOutcome.PASSED, "7"),
        ({"/health": (200, b""), "/v1/models": (200, b'{"data": []}')}, ProbeOutcome.PASSED, None),
        ({"/health": (503, b""), "/model_info": (200, MODEL)}, ProbeOutcome.UNHEALTHY, None),
        ({"/model_info": (200, MODEL)}, ProbeOutcome.UNHEALTHY, None),
        ({"/health": (200, b"")}, ProbeOutcome.NOT_A_WORKER, None),
        ({"/health": (200, b""), "/model_info": (200, b"<html>")}, ProbeOutcome.NOT_A_WORKER, None),
        ({"/health": (200, b""), "/model_info": (200, b"{}")}, ProbeOutcome.NOT_A_WORKER, None),
        ({"/health": (200, b""), "/model_info": (200, NO_UTF8)}, ProbeOutcome.NOT_A_WORKER, None),
        ({"/health": (200, NO_UTF8), "/model_info": (200, MODEL)}, ProbeOutcome.PASSED, "7"),
        ({"/health": (200, b""), "/v1/models": (200, b"[]")}, ProbeOutcome.NOT_A_WORKER, None),
        ({"/health": (200, b""), "/model_info": (401, b"")}, ProbeOutcome.NOT_A_WORKER, None),
    ],
)
async def test_outcomes(
    routes: dict[str, tuple[int, bytes]],
    outcome: ProbeOutcome,
    version: str | None,
    autojump_clock: Clock,
) -> None:
    async with open_rig() as rig:
        rig.add(not_found, is_active=False).routes = routes
        report = await run_probe(rig)
        assert (report.outcome, report.weight_version) == (outcome, version)
        assert (report.detail == "") == report.passed
        await rig.assert_quiet()


async def test_a_worker_that_wants_a_key_says_so(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add(not_found).routes = {"/health": (200, b""), "/model_info": (401, b"")}
        assert "api_key" in (await run_probe(rig)).detail


async def test_the_worker_gets_its_own_key(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        double = rig.add()
        rig.workers[0].spec = replace(rig.workers[0].spec, api_key="k")
        assert (await run_probe(rig)).passed
        assert {seen.header("authorization") for seen in double.asked} == {"Bearer k"}


async def test_unreachable(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add().is_refusing = True
        assert (await run_probe(rig)).outcome is ProbeOutcome.UNREACHABLE


async def test_a_router_that_cannot_ask_reports_nothing(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add()
        rig.dialer.free_descriptors = 0
        with pytest.raises(CannotDial):
            await run_probe(rig)


async def test_no_connection_in_time(autojump_clock: Clock) -> None:
    async with open_rig(connect_timeout_s=2.0) as rig:
        rig.add().is_hanging = True
        assert (await run_probe(rig)).outcome is ProbeOutcome.TIMEOUT


async def test_no_answer_in_time(autojump_clock: Clock) -> None:
    async def hang(_peer: Peer, _seen: Seen) -> None:
        await trio.sleep_forever()

    async with open_rig() as rig:
        rig.add(hang).routes = {"/health": (200, b"")}
        report = await run_probe(rig, timeout_s=4.0)
        assert report.outcome is ProbeOutcome.TIMEOUT
        assert report.finished_at - report.started_at >= 4.0
        await rig.assert_quiet()


async def test_no_http(autojump_clock: Clock) -> None:
    async def garbage(peer: Peer, _seen: Seen) -> None:
        await peer.send(b"SSH-2.0-x\r\n")

    async with open_rig() as rig:
        rig.add(garbage).routes = {}
        assert (await run_probe(rig)).outcome is ProbeOutcome.BROKEN
