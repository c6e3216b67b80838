"""Probes of the simulated worker over real sockets, and what they leave behind."""

from __future__ import annotations

import ipaddress
import json

import pytest
import trio

from miles_router.core.urlrules import AddressRules, parse_worker_url
from miles_router.core.worker import ProbeOutcome, ProbeReport, Worker, WorkerSpec
from miles_router.net.dial import Dialer
from miles_router.net.probe import probe
from miles_router.sim import SimSettings, running_sim
from tests.doubles.worker_double import MemoryDialer, WorkerDouble

TIMEOUT_S = 0.4


def worker_at(url: str, *, api_key: str | None = None) -> Worker:
    spec = WorkerSpec(url=parse_worker_url(url), api_key=api_key)
    return Worker(id="w1", spec=spec, added_at=0.0)


async def probed(
    worker: Worker, *, health_path: str = "/health", timeout_s: float = 5.0
) -> ProbeReport:
    dialer = Dialer(AddressRules(), connect_timeout_s=5.0)
    with trio.fail_after(20):
        return await probe(dialer, worker, health_path=health_path, timeout_s=timeout_s)


@pytest.mark.loopback
async def test_a_healthy_worker_passes_and_names_its_weights() -> None:
    async with running_sim(SimSettings(weight_version="step-7", model_path="sim/other")) as sim:
        worker = worker_at(sim.url)
        before = trio.current_time()
        report = await probed(worker)
        assert report.outcome is ProbeOutcome.PASSED
        assert (report.weight_version, report.model_path) == ("step-7", "sim/other")
        assert before <= report.started_at <= report.finished_at <= trio.current_time()
        assert report.detail == ""
        assert worker.addresses == (ipaddress.ip_address("127.0.0.1"),)


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("fault", "outcome", "detail"),
    [
        ("status=503:path=/health", ProbeOutcome.UNHEALTHY, "GET /health answered 503"),
        ("status=404:path=/health", ProbeOutcome.UNHEALTHY, "GET /health answered 404"),
        ("hang:path=/health", ProbeOutcome.TIMEOUT, "no answer within 0.4 s"),
        ("hang:path=/model_info", ProbeOutcome.TIMEOUT, "no answer within 0.4 s"),
        ("garbage:path=/health", ProbeOutcome.BROKEN, "not HTTP"),
        ("garbage:path=/model_info", ProbeOutcome.BROKEN, "not HTTP"),
        ("reset:path=/health", ProbeOutcome.BROKEN, "the connection broke"),
        ("close:path=/health", ProbeOutcome.BROKEN, "without an answer"),
        ("truncate:path=/model_info", ProbeOutcome.BROKEN, "in mid-answer"),
        ("html:path=/*,count=all", ProbeOutcome.NOT_A_WORKER, "not as an inference worker"),
        ("list:path=/*,count=all", ProbeOutcome.NOT_A_WORKER, "not as an inference worker"),
    ],
)
async def test_each_way_to_fail_has_its_outcome(
    fault: str, outcome: ProbeOutcome, detail: str
) -> None:
    async with running_sim(SimSettings(fault=(fault,))) as sim:
        report = await probed(worker_at(sim.url), timeout_s=TIMEOUT_S)
        assert report.outcome is outcome
        assert detail in report.detail
        assert report.weight_version is None


@pytest.mark.loopback
async def test_a_slow_worker_passes_within_the_timeout() -> None:
    async with running_sim(SimSettings(health_delay_s=0.2)) as sim:
        assert (await probed(worker_at(sim.url))).passed
        assert (await probed(worker_at(sim.url), timeout_s=0.1)).outcome is ProbeOutcome.TIMEOUT


@pytest.mark.loopback
async def test_another_health_path_is_asked() -> None:
    async with running_sim(SimSettings(fault=("status=503:path=/health,count=all",))) as sim:
        assert (await probed(worker_at(sim.url), health_path="/health_generate")).passed
        report = await probed(worker_at(sim.url), health_path="/healthz")
        assert report.outcome is ProbeOutcome.UNHEALTHY
        assert report.detail == "GET /healthz answered 404"


@pytest.mark.loopback
async def test_older_workers_are_asked_by_the_older_route() -> None:
    settings = SimSettings(weight_version="old", fault=("status=404:path=/model_info,count=all",))
    async with running_sim(settings) as sim:
        report = await probed(worker_at(sim.url))
        assert (report.outcome, report.weight_version) == (ProbeOutcome.PASSED, "old")


@pytest.mark.loopback
async def test_an_engine_that_only_lists_models_passes_without_a_version() -> None:
    faults = ("status=404:path=/model_info,count=all", "status=404:path=/get_model_info,count=all")
    async with running_sim(SimSettings(fault=faults)) as sim:
        report = await probed(worker_at(sim.url))
        assert (report.outcome, report.weight_version) == (ProbeOutcome.PASSED, None)


@pytest.mark.loopback
async def test_a_key_goes_along_and_its_absence_is_explained() -> None:
    async with running_sim(SimSettings(api_key="secret")) as sim:
        assert (await probed(worker_at(sim.url, api_key="secret"))).passed
        for api_key in (None, "wrong"):
            report = await probed(worker_at(sim.url, api_key=api_key))
            assert report.outcome is ProbeOutcome.NOT_A_WORKER
            assert "401" in report.detail
            assert "api_key" in report.detail
            assert "wrong" not in report.detail


@pytest.mark.loopback
async def test_nobody_there_is_unreachable() -> None:
    async with running_sim() as sim:
        url = sim.url
    report = await probed(worker_at(url))
    assert report.outcome is ProbeOutcome.UNREACHABLE
    assert "refused" in report.detail


@pytest.mark.parametrize("url", ["http://169.254.169.254", "http://8.8.8.8"])
async def test_an_address_that_is_not_allowed_is_never_connected_to(url: str) -> None:
    worker = worker_at(url)
    report = await probe(MemoryDialer(), worker, health_path="/health", timeout_s=TIMEOUT_S)
    assert report.outcome is ProbeOutcome.UNREACHABLE
    assert worker.addresses == ()


@pytest.mark.parametrize(
    ("given", "read"), [("7", "7"), (7, "7"), (None, None), (1.5, "1.5"), ("", "")]
)
async def test_a_version_is_text_whatever_the_worker_sends(given: object, read: str | None) -> None:
    async with trio.open_nursery() as nursery:
        dialer = MemoryDialer()
        double = dialer.workers[9001] = WorkerDouble(nursery)
        info = json.dumps({"model_path": "m", "weight_version": given})
        double.routes["/model_info"] = (200, info.encode())
        worker = worker_at("http://127.0.0.1:9001")
        report = await probe(dialer, worker, health_path="/health", timeout_s=5.0)
        assert (report.outcome, report.weight_version) == (ProbeOutcome.PASSED, read)
        assert double.open_count == 0


async def test_a_cancelled_probe_reports_nothing_and_closes_its_connection(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def never(*_: object) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        dialer = MemoryDialer()
        double = dialer.workers[9001] = WorkerDouble(nursery, never)
        worker = worker_at("http://127.0.0.1:9001")
        with trio.move_on_after(1) as scope:
            await probe(dialer, worker, health_path="/never", timeout_s=30.0)
        assert scope.cancelled_caught
        assert len(double.streams) == 1
        assert double.open_count == 0
        nursery.cancel_scope.cancel()
