"""A worker that registered without the token stays in the network it registered from."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from miles_router.core.urlrules import Address, AddressRules, WorkerUrl, parse_worker_url
from miles_router.core.worker import ProbeOutcome, Worker, WorkerSpec
from miles_router.net.dial import Dialer
from miles_router.net.probe import probe

if TYPE_CHECKING:
    import pytest


async def test_a_name_that_leaves_its_network_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolve(_url: WorkerUrl) -> tuple[Address, ...]:
        return (ipaddress.ip_address("127.0.0.1"),)

    dialer = Dialer(AddressRules(), connect_timeout_s=1.0)
    monkeypatch.setattr(dialer, "resolve", resolve)
    spec = WorkerSpec(
        url=parse_worker_url("http://worker.example:1"),
        within=(ipaddress.ip_network("10.0.0.0/24"),),
    )
    report = await probe(
        dialer, Worker(id="w1", spec=spec, added_at=0.0), health_path="/health", timeout_s=1.0
    )
    assert report.outcome is ProbeOutcome.UNREACHABLE
    assert "left the network" in report.detail
