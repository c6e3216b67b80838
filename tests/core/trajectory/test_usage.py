from __future__ import annotations

from miles_router.core.trajectory.namespace import Namespace
from miles_router.core.trajectory.trajectory import Trajectory
from miles_router.core.trajectory.usage import Usage
from tests.core.trajectory.cases import new_turn, run_of

NAMESPACE = Namespace("t")
A = run_of((1, "a"))


def trajectory(name: str, version: str | None = None, used_at: float = 0.0) -> Trajectory:
    turn = NAMESPACE.add_turn(new_turn(A, A, version=version), NAMESPACE.turns + 1)
    return Trajectory(name, NAMESPACE, turn, used_at, used_at)


def test_the_one_unused_for_longest_is_first() -> None:
    usage = Usage(ttl_s=None, keep_versions=1)
    assert len(usage) == 0
    one, two, three = (trajectory(name) for name in ("one", "two", "three"))
    for each in (one, two, three):
        usage.add(each)
    usage.touch(one, 5.0)
    assert (usage.ids, one.used_at) == (["two", "three", "one"], 5.0)
    assert usage.oldest is two
    usage.remove(two)
    assert (len(usage), "two" in usage, "one" in usage) == (2, False, True)
    assert usage.expired(10**9) is None


def test_a_trajectory_expires_after_its_time() -> None:
    usage = Usage(ttl_s=10.0, keep_versions=1)
    one = trajectory("one", used_at=5.0)
    usage.add(one)
    assert usage.expired(15.0) is None
    assert usage.expired(15.1) == (one, "ttl")
    usage.touch(one, 15.1)
    assert usage.expired(25.0) is None


def test_versions_are_outdated_in_the_order_of_their_arrival() -> None:
    usage = Usage(ttl_s=None, keep_versions=2)
    listed = {
        version: trajectory(str(version), version) for version in ("default", "7", "v2", None)
    }
    for version, each in listed.items():
        assert usage.note_version(version) == (version is not None)
        usage.add(each)
    assert usage.expired(0.0) == (listed["default"], "version")
    usage.remove(listed["default"])
    assert usage.expired(0.0) is None  # without a version nothing is outdated
    assert not usage.note_version("7")  # known: it is not the newest once more
    assert usage.note_version("1")
    assert usage.expired(0.0) == (listed["7"], "version")
    usage.remove(listed["7"])
    usage.add(listed["7"])
    assert usage.expired(0.0) == (listed["7"], "version")


def test_a_version_is_noted_without_a_trajectory() -> None:
    usage = Usage(ttl_s=None, keep_versions=1)
    one = trajectory("one", "1")
    usage.note_version("1")
    usage.add(one)
    assert usage.expired(0.0) is None
    usage.note_version("2")
    assert usage.expired(0.0) == (one, "version")
