from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.tui.history import RATE_SPAN_S, SPAN_S, History
from miles_router.tui.series import plot_span
from tests.tui.views import a_snapshot, a_worker


def known(values: object) -> list[float]:
    assert isinstance(values, list)
    return [value for value in values if not math.isnan(value)]


def fed(*takes: tuple[float, int], boot: str = "boot-1") -> History:
    """A history of one worker that had finished so many requests at these times."""
    history = History()
    for now, served in takes:
        history.take(a_snapshot([a_worker(served=served)], boot_id=boot), now)
    return history


def test_before_anything_nothing_is_known() -> None:
    history = History()
    assert history.rate("w0") is None
    assert history.throughput_now() is None
    assert history.inflight("w0") == ()
    assert history.inflight_mean("w0") is None
    assert history.recent_errors("w0") == 0
    assert history.inflight_top() == 1
    assert (
        history.throughput() == history.inflight_total() == history.queued() == history.lag() == []
    )


@pytest.mark.parametrize(
    ("takes", "rate"),
    [
        ([(0.0, 7)], None),  # one look says nothing about a rate
        ([(0.0, 7), (1.0, 17)], 10),
        ([(0.0, 7), (0.2, 7), (2.25, 16)], 4),
        ([(0.0, 0), (1.0, 10), (9.0, 10)], 0),  # eight seconds without any
        ([(0.0, 0), (42.0, 420)], 10),  # a link that was lost: spread over the time
        ([(0.0, 100), (1.0, 3), (2.0, 5)], 1),  # it fell: counted from there
        ([(5.0, 0), (4.0, 10), (5.0, 10)], 10),  # time that runs back is no time
    ],
)
def test_rates_of_a_worker(takes: list[tuple[float, int]], rate: float | None) -> None:
    history = fed(*takes)
    assert history.rate("w0") == (rate if rate is None else pytest.approx(rate))
    assert history.throughput_now() == (rate if rate is None else pytest.approx(rate))


def test_a_rate_is_over_the_last_seconds() -> None:
    history = fed(*[(second, 100 * min(second, 10)) for second in range(13 + RATE_SPAN_S)])
    assert history.rate("w0") == 0
    assert max(known(history.throughput())) == 100


def test_rates_move_every_two_seconds_and_not_all_at_once() -> None:
    history = History()
    names = [f"w{n}" for n in range(10)]
    moved: list[set[str]] = []
    shown: dict[str, float | None] = {}
    for tick in range(40):
        views = [a_worker(name, served=tick * tick) for name in names]
        history.take(a_snapshot(views), 100.01 + tick / 5)
        fresh = {name: history.rate(name) for name in names}
        moved.append({name for name in names if fresh[name] != shown.get(name)})
        shown = fresh
    assert all(len(each) == 1 for each in moved[2:])
    assert all(set().union(*moved[n : n + 10]) == set(names) for n in range(2, 30))


@given(
    st.lists(
        st.tuples(st.floats(0, 300), st.integers(0, 10**9), st.sampled_from(["a", "b"])),
        max_size=12,
    )
)
def test_no_rate_is_negative_whatever_happens(takes: list[tuple[float, int, str]]) -> None:
    history = History()
    for now, served, boot in takes:
        workers = [a_worker(served=served, errors=served // 2)]
        history.take(a_snapshot(workers, boot_id=boot), now)
        assert (history.rate("w0") or 0) >= 0
        assert (history.throughput_now() or 0) >= 0
        assert history.recent_errors("w0") >= 0
        assert all(rate >= 0 for rate in known(history.throughput()))


def test_a_restart_of_the_router_keeps_what_was() -> None:
    history = History()
    history.take(a_snapshot([a_worker(inflight=9, served=500)]), 100.0)
    history.take(a_snapshot([], boot_id="boot-2"), 130.0)  # it knows no worker yet
    history.take(a_snapshot([a_worker(inflight=3, served=40)], boot_id="boot-2"), 140.0)
    history.take(a_snapshot([a_worker(inflight=3, served=50)], boot_id="boot-2"), 141.0)
    assert known(history.inflight("w0")) == [9, 3, 3]
    assert history.rate("w0") == pytest.approx(10)
    assert history.throughput_now() == pytest.approx(50 / 11)


def test_seconds_without_a_snapshot_are_gaps() -> None:
    history = fed((0.0, 0), (3.0, 3))
    line = history.inflight("w0", SPAN_S)
    assert [math.isnan(value) for value in line[-5:]] == [True, False, True, True, False]
    assert [math.isnan(value) for value in history.inflight_total()[-5:]] == [
        True, False, True, True, False,
    ]  # fmt: skip


def test_a_missing_worker_keeps_its_past_for_two_minutes() -> None:
    history = fed((0.0, 0))
    for second in range(1, SPAN_S + 1):
        history.take(a_snapshot([]), float(second))
    history.take(a_snapshot([a_worker("w1")]), float(SPAN_S))
    assert history.inflight("w0") != ()
    history.take(a_snapshot([a_worker("w1")]), SPAN_S + 1.0)
    assert history.inflight("w0") == ()
    assert history.inflight("w1") != ()


def test_workers_that_change_places_keep_their_own() -> None:
    history = History()
    one, two = a_worker("one", inflight=1, served=10), a_worker("two", inflight=2, errors=5)
    history.take(a_snapshot([one, two]), 0.0)
    later = a_worker("two", inflight=2, errors=8), a_worker("one", inflight=1, served=20)
    history.take(a_snapshot([a_worker("new", inflight=7), *later]), 1.0)
    assert known(history.inflight("one")) == [1, 1]
    assert known(history.inflight("two")) == [2, 2]
    assert known(history.inflight("new")) == [7]
    assert history.rate("one") == pytest.approx(10)
    assert history.recent_errors("two") == 3
    assert history.recent_errors("one") == history.recent_errors("new") == 0


def test_the_same_id_twice_does_no_harm() -> None:
    history = History()
    history.take(a_snapshot([a_worker(inflight=1), a_worker(inflight=2)]), 0.0)
    assert len(known(history.inflight("w0"))) == 1


def test_errors_are_recent_for_two_minutes() -> None:
    history = History()
    for second, errors in ((0, 3), (1, 5), (SPAN_S, 5), (SPAN_S + 1, 5)):
        history.take(a_snapshot([a_worker(errors=errors)]), float(second))
        expected = 2 if 1 <= second <= SPAN_S else 0
        assert history.recent_errors("w0") == expected


def test_all_rows_have_one_scale() -> None:
    history = History()
    history.take(a_snapshot([a_worker("a", inflight=40), a_worker("b", inflight=2)]), 0.0)
    history.take(a_snapshot([a_worker("a", inflight=0), a_worker("b", inflight=2)]), 5.0)
    assert history.inflight_top() == 40
    assert history.inflight_mean("a") == 20
    history.take(a_snapshot([a_worker("b", inflight=2)]), 5.0 + SPAN_S)
    assert history.inflight_top() == 2


def test_a_line_has_as_many_means_as_asked_for() -> None:
    history = History()
    for second in range(SPAN_S):
        history.take(a_snapshot([a_worker(inflight=second)]), float(second))
    line = history.inflight("w0", 24)
    assert len(line) == 24
    assert list(line) == sorted(line)
    assert line[-1] == pytest.approx(117)
    assert len(history.inflight("w0", 1)) == 1


def test_the_newest_mean_of_a_line_moves_within_its_second() -> None:
    history = History()
    lines = []
    for now, inflight in ((0.0, 1), (1.0, 2), (1.4, 6), (1.8, 1), (2.0, 9)):
        history.take(a_snapshot([a_worker(inflight=inflight)]), now)
        lines.append([known(list(history.inflight("w0", width))) for width in (SPAN_S, 60, SPAN_S)])
    assert [line[0] for line in lines] == [[1], [1, 2], [1, 4], [1, 3], [1, 3, 9]]
    assert [line[1] for line in lines] == [[1], [1.5], [2.5], [2], [2, 9]]
    assert [line[2] for line in lines] == [line[0] for line in lines]


def test_throughput_is_of_what_workers_answered() -> None:
    history = History()
    for second in range(20):  # a queue that is full: most are refused at once
        totals = {"requests": 900 * second, "relayed": 400 * second}
        workers = [a_worker("one", served=3 * second), a_worker("two", served=second)]
        history.take(a_snapshot(workers, totals=totals), float(second))
    assert history.throughput_now() == pytest.approx(4)
    rates = [history.rate("one"), history.rate("two")]
    assert rates == [pytest.approx(3), pytest.approx(1)], "its sum is what stands in the rows"


def test_a_worker_that_comes_or_goes_takes_no_throughput_back() -> None:
    history = History()
    for second in range(10):
        shown = [a_worker("old", served=50)] if second < 9 else []
        new = [a_worker("new", served=2 * (second - 7))] if second >= 8 else []
        history.take(a_snapshot([*shown, *new]), float(second))
    assert known(history.throughput())[-3:] == [0, 2, 2]


def test_what_only_the_admin_is_told_is_a_gap() -> None:
    history = History()
    for second in range(20):
        told = a_snapshot([a_worker(inflight=3, served=4 * second)], totals={"inflight": 3})
        history.take(msgspec.structs.replace(told, boot_id=""), float(second))
    assert known(history.queued()) == []
    assert known(history.lag()) == []
    assert set(known(history.inflight_total())) == {3}


def test_totals_over_a_span() -> None:
    history = History()
    for second in range(200):
        totals = {"inflight": 5, "queued": second, "loop_lag_p99_s": None}
        history.take(a_snapshot([a_worker(served=30 * second)], totals=totals), float(second))
    assert plot_span(120, 50) == 150
    assert history.queued(120, 50) == [*(52 + 3 * n for n in range(49)), 198.5]
    assert known(history.throughput(120, 50)) == [pytest.approx(30)] * 50
    assert history.inflight_total(120, 120) == [5] * 120
    assert known(history.lag()) == []
    assert len(history.queued(3600, 100)) == 100
    assert history.queued(120, 0) == []
