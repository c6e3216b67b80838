"""Sessions stay on one worker while that is good for them."""

from __future__ import annotations

import pytest

from miles_router.core.admission import AdmissionLimits
from miles_router.core.lifecycle import State
from miles_router.core.policies import POLICIES
from miles_router.errors import DialFailed
from tests.core.rig import Rig

KEY = ("default", "s1")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(5))
def test_a_new_session_settles_on_the_least_loaded_worker_and_stays(policy: str, seed: int) -> None:
    rig = Rig(policy=policy, seed=seed)
    busy, idle = rig.joined(1), rig.joined(2)
    rig.load(busy, 1)
    for _ in range(5):
        lease = rig.lease(KEY)
        assert lease.worker is idle
        lease.release(rig.now)


def test_a_session_stays_up_to_the_margin_spills_above_it_and_returns() -> None:
    rig = Rig(limits=AdmissionLimits(affinity_margin=2))
    home, other = rig.joined(1), rig.joined(2)
    rig.load(other, 1)
    rig.lease(KEY).release(rig.now)
    assert rig.affinity.home(KEY, rig.now) == home.id
    loads = rig.load(home, 3)  # 3 to 1: two more than the least loaded
    stays = rig.lease(KEY)
    assert stays.worker is home
    assert rig.lease(KEY).worker is other  # 4 to 1: three more
    stays.release(rig.now)
    for load in loads:
        load.release(rig.now)
    assert rig.lease(KEY).worker is home


@pytest.mark.parametrize("margin", [0, 5])
def test_the_margin_is_what_was_configured(margin: int) -> None:
    rig = Rig(limits=AdmissionLimits(affinity_margin=margin))
    home, other = rig.joined(1), rig.joined(2)
    rig.affinity.settle(KEY, home.id, rig.now)
    rig.load(home, margin)
    assert rig.lease(KEY).worker is home
    assert rig.lease(KEY).worker is other


def test_a_session_spills_while_its_home_is_full_and_returns() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_per_worker=1, affinity_margin=9))
    home, other = rig.joined(1), rig.joined(2)
    rig.affinity.settle(KEY, home.id, rig.now)
    [load] = rig.load(home, 1)
    spilled = rig.lease(KEY)
    assert spilled.worker is other
    load.release(rig.now)
    assert rig.lease(KEY).worker is home


def test_a_session_spills_while_its_home_is_out_and_returns() -> None:
    rig = Rig()
    home, other = rig.joined(1), rig.joined(2)
    rig.affinity.settle(KEY, home.id, rig.now)
    rig.pool.note_fault(home, DialFailed("refused"), rig.now)
    assert rig.lease(KEY).worker is other
    rig.passes(home, times=2)
    assert rig.lease(KEY).worker is home


def test_a_session_leaves_a_suspect_home_while_an_active_worker_is_available() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_per_worker=1))
    home, other, third = rig.joined(1), rig.joined(2), rig.joined(3)
    rig.affinity.settle(KEY, home.id, rig.now)
    rig.fails(third)
    rig.fails(home)
    assert rig.lease(KEY).worker is other
    assert rig.lease(KEY).worker is home  # of the suspect ones, its own


@pytest.mark.parametrize("command", ["drain", "remove"])
@pytest.mark.parametrize("busy", [True, False])
def test_a_home_that_leaves_is_replaced_for_good(command: str, busy: bool) -> None:
    rig = Rig()
    home, other = rig.joined(1), rig.joined(2)
    rig.affinity.settle(KEY, home.id, rig.now)
    if busy:
        rig.load(home, 1)
    getattr(rig.pool, command)(home, rig.now)
    rig.lease(KEY).release(rig.now)
    again = rig.add(1)
    rig.passes(again, times=2)
    assert again.state is State.ACTIVE
    rig.load(other, 1)
    assert rig.lease(KEY).worker is other


def test_a_retry_goes_elsewhere_and_the_home_stays() -> None:
    rig = Rig()
    home, other = rig.joined(1), rig.joined(2)
    rig.affinity.settle(KEY, home.id, rig.now)
    assert rig.lease(KEY, exclude=[home]).worker is other
    assert rig.lease(KEY).worker is home


def test_a_forgotten_session_settles_anew() -> None:
    rig = Rig()
    home, other = rig.joined(1), rig.joined(2)
    rig.affinity.settle(KEY, home.id, rig.now)
    rig.load(home, 1)
    assert rig.affinity.forget(KEY) is True
    assert rig.lease(KEY).worker is other


def test_an_unused_session_settles_anew_after_its_time() -> None:
    rig = Rig(ttl_s=60.0)
    home, other = rig.joined(1), rig.joined(2)
    rig.affinity.settle(KEY, home.id, rig.now)
    rig.load(home, 1)
    rig.now += 60.0
    assert rig.lease(KEY).worker is other


def test_a_session_that_waits_settles_only_when_it_is_granted() -> None:
    rig = Rig()
    ticket = rig.ask(KEY)
    assert len(rig.affinity) == 0
    worker = rig.joined(1)
    assert ticket.lease is not None
    assert rig.affinity.home(KEY, rig.now) == worker.id


def test_tenants_with_the_same_session_name_do_not_share_a_home() -> None:
    rig = Rig()
    first, second = rig.joined(1), rig.joined(2)
    rig.load(second, 1)
    rig.lease(("a", "s")).release(rig.now)
    rig.load(first, 2)
    assert rig.lease(("b", "s")).worker is second
    assert rig.affinity.home(("a", "s"), rig.now) == first.id
