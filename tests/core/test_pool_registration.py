"""Registration of a worker that is known already, and of one that was removed."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from miles_router.core.lifecycle import State
from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import WorkerSpec
from tests.core.rig import Change, Rig, state_of


def test_registering_again_brings_a_quarantined_worker_to_probation() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.quarantine(worker, rig.now)
    assert rig.pool.add(WorkerSpec(worker.spec.url), rig.now) is worker
    assert rig.changes(worker)[-1] == Change("quarantined", "probation", "registered again")
    rig.passes(worker)
    assert state_of(worker) is State.PROBATION
    rig.passes(worker)
    assert state_of(worker) is State.ACTIVE


def test_registering_again_takes_a_removal_in_progress_back() -> None:
    rig = Rig()
    worker = rig.joined(1)
    lease = rig.lease()
    rig.pool.remove(worker, rig.now, deadline_s=1.0)
    assert rig.add(1) is worker
    assert state_of(worker) is State.PROBATION
    assert rig.pool.listed == [worker]
    lease.release(rig.now)
    assert rig.pool.listed == [worker]
    assert worker.drain_deadline is None


def test_registering_again_brings_a_drained_worker_to_probation_for_new_good_probes() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.passes(worker, times=5)
    rig.pool.drain(worker, rig.now)
    rig.add(1)
    rig.passes(worker)
    assert state_of(worker) is State.PROBATION
    rig.passes(worker)
    assert state_of(worker) is State.ACTIVE


def test_registering_an_active_worker_again_changes_nothing_but_asks_it_at_once() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.begin_probe(worker, rig.now)
    rig.pool.end_probe(worker)
    seq = rig.events.last_seq
    rig.add(1, worker_type="decode")
    assert state_of(worker) is State.ACTIVE
    assert worker.spec.worker_type == "decode"  # what was registered last is what counts
    assert rig.events.last_seq == seq
    assert rig.pool.due_probes(rig.now) == [worker]


def test_a_worker_is_dialled_at_the_addresses_of_its_last_registration() -> None:
    rig = Rig()
    worker = rig.joined(1)
    for address in (IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")):
        rig.pool.add(WorkerSpec(worker.spec.url, addresses=(address,)), rig.now)
        assert worker.addresses == (address,)
    rig.pool.remove(worker, rig.now)
    again = rig.pool.add(WorkerSpec(worker.spec.url, addresses=(address,)), rig.now)
    assert again.addresses == (address,)


def test_a_removed_worker_that_comes_back_starts_over() -> None:
    rig = Rig()
    gone = rig.joined(1)
    rig.pool.remove(gone, rig.now)
    worker = rig.pool.add(WorkerSpec(gone.spec.url), rig.now)
    assert worker is not gone
    assert worker.id == gone.id
    assert state_of(worker) is State.JOINING


def test_what_a_registration_leaves_open_keeps_its_value() -> None:
    rig = Rig()
    url = rig.add(1).spec.url
    first = WorkerSpec(url, api_key="k", labels={"gpu": "h100"}, extra={"note": "x"})
    worker = rig.pool.add(first, rig.now)
    rig.pool.add(WorkerSpec(url), rig.now)
    assert worker.spec == first
    rig.pool.add(WorkerSpec(url, api_key="new", labels={"rack": "2"}), rig.now)
    assert worker.spec.api_key == "new"
    assert worker.spec.labels == {"gpu": "h100", "rack": "2"}
    assert worker.spec.extra == {"note": "x"}


@pytest.mark.parametrize("lifts_hold", [True, False])
def test_an_operators_quarantine_is_lifted_only_by_who_may(lifts_hold: bool) -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.quarantine(worker, rig.now)
    seq = rig.events.last_seq
    rig.add(1, lifts_hold=lifts_hold, worker_type="decode")
    assert worker.is_held is not lifts_hold
    assert worker.spec.worker_type == ("decode" if lifts_hold else "regular")
    told = [c.to_state for c in rig.changes(worker, after=seq)]
    assert told == (["probation"] if lifts_hold else [])
    rig.passes(worker, times=5)
    assert state_of(worker) is (State.ACTIVE if lifts_hold else State.QUARANTINED)


def test_whoever_registers_lifts_a_quarantine_that_no_operator_gave() -> None:
    rig = Rig()
    worker, _other = rig.joined(1), rig.joined(2)
    rig.fails(worker, times=3)
    assert state_of(worker) is State.QUARANTINED
    rig.add(1, lifts_hold=False)
    assert state_of(worker) is State.PROBATION


def test_a_held_worker_that_drains_is_not_called_back_by_who_may_not() -> None:
    rig = Rig()
    worker = rig.joined(1)
    lease = rig.lease()
    rig.pool.quarantine(worker, rig.now)
    rig.pool.remove(worker, rig.now)
    rig.add(1, lifts_hold=False)
    assert rig.pool.listed == []
    lease.release(rig.now)
    assert rig.workers == {}


def test_an_untrusted_registration_replaces_nothing_that_is_known() -> None:
    rig = Rig()
    url = parse_worker_url("http://10.0.0.1:8000")
    rig.pool.add(WorkerSpec(url, api_key="known"), rig.now)
    worker = rig.pool.add(WorkerSpec(url, api_key="other"), rig.now, lifts_hold=False)
    assert worker.spec.api_key == "known"


@pytest.mark.parametrize("lifts_hold", [True, False])
def test_an_operators_drain_is_lifted_only_by_who_may(lifts_hold: bool) -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.pool.drain(worker, rig.now)
    rig.add(1, lifts_hold=lifts_hold)
    assert state_of(worker) is (State.PROBATION if lifts_hold else State.DRAINED)
