from __future__ import annotations

import math
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from miles_router.tui import format as fmt
from miles_router.tui.glyphs import ASCII, UNICODE

SPANS = st.floats(0, 1e10)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "-"),
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (82_440, "82.4k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (38_200_000, "38.2M"),
        (2.5e18, "2.5E"),
        (-1500, "-1.5k"),
    ],
)
def test_count(number: float | None, text: str) -> None:
    assert fmt.count(number) == text


@pytest.mark.parametrize(
    ("per_s", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.01, "<0.1"),
        (0.4, "0.4"),
        (9.94, "9.9"),
        (9.96, "10"),
        (412, "412"),
    ],
)
def test_rate(per_s: float | None, text: str) -> None:
    assert fmt.rate(per_s) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (102_300, "99.9 KiB"),
        (102_400, "100 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (2 * 2**30, "2.0 GiB"),
        (3 * 2**60, "3072 PiB"),
    ],
)
def test_size(size_bytes: float | None, text: str) -> None:
    assert fmt.size(size_bytes) == text


@pytest.mark.parametrize(
    ("span_s", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (-1, "0ms"),
        (0.0004, "0.4ms"),
        (0.0099, "9.9ms"),
        (0.716, "716ms"),
        (0.99951, "1.00s"),
        (2.75, "2.75s"),
        (12.34, "12.3s"),
        (59.96, "1m00s"),
        (192, "3m12s"),
        (7500, "2h05m"),
        (273_600, "3d04h"),
        (12 * 86400, "12d"),
    ],
)
def test_seconds(span_s: float | None, text: str) -> None:
    assert fmt.seconds(span_s) == text


@pytest.mark.parametrize(
    ("span_s", "text"),
    [(None, "-"), (0.9, "0s"), (42.7, "42s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m")],
)
def test_age(span_s: float | None, text: str) -> None:
    assert fmt.age(span_s) == text


@pytest.mark.parametrize(
    ("span_s", "text"),
    [(None, "-"), (9, "9s"), (59, "59s"), (75, "1m"), (3599, "59m"), (86_399, "23h"), (1e6, "11d")],
)
def test_coarse_age(span_s: float | None, text: str) -> None:
    assert fmt.coarse_age(span_s) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "-"), (0, "0%"), (0.0001, "<0.1%"), (0.734, "73.4%"), (0.9999, "100%"), (1, "100%")],
)
def test_percent(share: float | None, text: str) -> None:
    assert fmt.percent(share) == text


@given(st.floats(0, 9.9e17), SPANS, st.floats(0, 10))
def test_numbers_fit_their_columns(number: float, span_s: float, share: float) -> None:
    assert len(fmt.count(number)) <= 5
    assert len(fmt.rate(number)) <= 5
    assert len(fmt.size(number)) <= 8
    assert len(fmt.seconds(span_s)) <= 7
    assert len(fmt.seconds(min(span_s, 99_999 * 86400))) <= 6
    assert len(fmt.age(min(span_s, 99_999 * 86400))) <= 6
    assert len(fmt.percent(share)) <= 5


def test_clock_is_local_to_the_zone_it_is_given() -> None:
    assert fmt.clock(1_786_000_000, UTC) == "07:06:40"
    assert fmt.clock(1_786_000_000, timezone(timedelta(hours=2))) == "09:06:40"
    assert len(fmt.clock(1_786_000_000)) == 8


@pytest.mark.parametrize("unix_s", [math.nan, math.inf, 1e300, -1e300])
def test_a_clock_shows_no_nonsense(unix_s: float) -> None:
    assert fmt.clock(unix_s, UTC) == "--:--:--"


@pytest.mark.parametrize(
    ("text", "width", "align", "cut", "shown"),
    [
        ("up", 4, "left", "end", "up  "),
        ("41", 4, "right", "end", "  41"),
        ("quarantined", 6, "left", "end", "quara…"),
        ("http://host:30000", 9, "left", "middle", "http…0000"),
        ("東京大学", 8, "left", "end", "東京大学"),
        ("東京大学", 7, "left", "end", "東京大…"),
        ("東京大学", 6, "left", "end", "東京… "),  # half a character is none
        ("東京大学", 1, "left", "end", "…"),
        ("anything", 0, "left", "end", ""),
        ("anything", -3, "right", "middle", ""),
        ("", 3, "right", "end", "   "),
    ],
)
def test_fit(text: str, width: int, align: fmt.Align, cut: fmt.Cut, shown: str) -> None:
    assert fmt.fit(text, width, align=align, cut=cut) == shown


def test_a_cut_uses_the_signs_of_the_set() -> None:
    assert fmt.fit("quarantined", 6, glyphs=ASCII) == "quara~"


@given(
    st.text(),
    st.integers(-2, 40),
    st.sampled_from(["left", "right"]),
    st.sampled_from(["end", "middle"]),
)
def test_what_is_fitted_is_exactly_as_wide(
    text: str, width: int, align: fmt.Align, cut: fmt.Cut
) -> None:
    safe = UNICODE.safe(text)
    fitted = fmt.fit(safe, width, align=align, cut=cut)
    assert cell_len(fitted) == max(0, width)
    at_most = fmt.fit_most(safe, width)
    assert cell_len(at_most) <= max(0, width)
    assert cell_len(safe) > width or at_most == safe


def test_wrapped_text_loses_nothing_until_it_is_cut() -> None:
    assert fmt.wrap("aa bb cc", 5) == ["aa bb", "cc"]
    assert fmt.wrap("abcdefgh ij", 5) == ["abcde", "fgh", "ij"]
    assert fmt.wrap("東京東京", 5) == ["東京", "東京"]
    assert fmt.wrap("aa bb cc dd", 5, 1) == ["aa b…"]
    assert fmt.wrap("", 5) == [""]


@pytest.mark.parametrize(
    ("span_s", "text"),
    [
        (None, "-"),
        (-1, "<10s"),
        (9.9, "<10s"),
        (10, "10s"),
        (59.9, "50s"),
        (60, "1m"),
        (3_599, "59m"),
        (3_600, "1h00m"),
        (11_520, "3h12m"),
        (86_400 * 3 + 3_600 * 4, "3d04h"),
        (86_400 * 12, "12d"),
        (float("inf"), "-"),
    ],
)
def test_a_rough_age_changes_seldom(span_s: float | None, text: str) -> None:
    assert fmt.rough_age(span_s) == text
