"""Which weight version is the newest, and which may serve."""

from __future__ import annotations

import pytest

from miles_router.core import versions
from miles_router.core.versions import VersionHistory


def history(*arrived: str) -> VersionHistory:
    made = VersionHistory()
    for version in arrived:
        made.arrive(version)
    return made


def test_the_newest_is_the_last_to_arrive_for_the_first_time_whatever_its_size() -> None:
    made = history("10", "9", "abc")
    assert made.newest == "abc"
    assert made.arrive("9") is False
    assert made.newest == "abc"
    assert made.arrived == ("10", "9", "abc")


def test_nothing_arrives_with_a_worker_that_names_no_version() -> None:
    made = VersionHistory()
    assert made.arrive(None) is False
    assert made.newest is None
    assert made.arrive("") is True  # an empty string is a name


@pytest.mark.parametrize(
    ("arrived", "version", "others_serve", "may"),
    [
        ((), None, True, True),  # nobody named a version: nothing to compare with
        ((), "1", True, True),  # the first version of the pool
        (("1",), "1", True, True),
        (("1",), "1", False, True),
        (("1", "2"), "2", True, True),
        (("1", "2"), "1", True, False),  # superseded
        (("1", "2"), "1", False, False),  # superseded, even if nobody else serves
        (("1", "2"), "3", True, False),  # unknown, and the pool serves
        (("1", "2"), "3", False, True),  # unknown, and nobody else serves
        (("1",), None, True, False),
        (("1",), None, False, False),
        (("2",), "02", True, False),  # opaque: no arithmetic
    ],
)
def test_who_may_serve(
    arrived: tuple[str, ...], version: str | None, others_serve: bool, may: bool
) -> None:
    assert history(*arrived).may_serve(version, others_serve=others_serve) is may


@pytest.mark.parametrize(
    ("version", "other", "before"),
    [
        ("1", "2", True),
        ("1", "3", True),
        ("2", "1", False),
        ("2", "2", False),
        ("1", "9", False),  # one that never arrived has no place in the order
        ("9", "1", False),
        ("8", "9", False),
        (None, "1", False),
        ("1", None, False),
        (None, None, False),
    ],
)
def test_which_version_arrived_before_which(
    version: str | None, other: str | None, before: bool
) -> None:
    assert history("1", "2", "3").arrived_before(version, other) is before


@pytest.mark.parametrize(
    ("version", "arrived"),
    [
        ("1", ("2", "3", "1")),
        ("3", ("1", "2", "3")),
        ("9", ("1", "2", "3")),  # what never arrived cannot be the newest again
        (None, ("1", "2", "3")),
    ],
)
def test_a_version_that_is_renewed_is_the_newest_again(
    version: str | None, arrived: tuple[str, ...]
) -> None:
    made = history("1", "2", "3")
    made.renew(version)
    assert made.arrived == arrived
    assert made.newest == arrived[-1]


def test_the_memory_is_bounded_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "MAX_REMEMBERED", 3)
    made = history("1", "2", "3", "4")
    assert made.arrived == ("2", "3", "4")
    assert made.newest == "4"
