from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs
from miles_router.tui.panels.cache import cache_lines, hit_share
from tests.tui.views import a_cache

if TYPE_CHECKING:
    from miles_router.core.cache_view import CacheView


def drawn(cache: CacheView | None, width: int, **options: Any) -> list[str]:
    lines = cache_lines(cache, width, **options)
    return ["".join(cell.text for cell in line).rstrip() for line in lines]


def test_the_short_form_fits_beside_the_events() -> None:
    assert drawn(a_cache(), 40) == [
        "tokens   38.2M in 40 turns",
        "bytes    2.0 GiB of 4.0 GiB    ████░░░░░",
        "hits     73.0% of prompts      ███████░░",
        "stored   98 turns",
        "refused  14: unfinished 12, no_output_i…",
        "evicted  34: evicted 30, deleted 4",
        "gc       7s ago, freed 61 turns",
        "R3       1.0 GiB of 16.0 GiB   █░░░░░░░░",
    ]


def test_the_full_form_has_everything() -> None:
    lines = drawn(a_cache(journal="on", journal_size_bytes=700 * 2**20), 79, is_full=True)
    assert "bytes          2.0 GiB of 4.0 GiB    ██████░░░░░░ 50.0%" in lines
    assert "prompts        100: continued 70, tokenized 27, repeated 3" in lines
    assert "refused        14: unfinished 12, no_output_ids 2" in lines
    assert "evicted turns  34: evicted 30, deleted 4" in lines
    assert "known tokens   31.5M of prompts" in lines
    assert "last gc        7s ago, freed 61 turns" in lines
    assert "journal        on, 700 MiB" in lines
    assert "R3 evicted     0" in lines


def test_what_needs_attention_is_marked() -> None:
    lines = drawn(
        a_cache(
            is_on=False,
            size_bytes=95,
            budget_bytes=100,
            journal="off",
            failures=2,
            journal_failures=3,
        ),
        60,
        is_full=True,
    )
    assert lines[0] == "! off: nothing is stored or looked up"
    assert "bytes          95 B of 100 B!        ███████████░ 95.0%" in lines
    assert "journal        off, 0 B!" in lines
    assert "failures       2!" in lines
    assert "journal        3 writes failed!" in lines


def test_a_cache_that_has_just_begun() -> None:
    cache = a_cache(
        prompts={}, refused={}, removed={"age": 0}, last_sweep_age_s=None, r3_budget_bytes=0
    )
    assert hit_share(cache) is None
    lines = drawn(cache, 60)
    assert "hits     no prompt yet" in lines
    assert "refused  0" in lines
    assert "evicted  0" in lines
    assert "gc       never ran" in lines
    assert "R3       1.0 GiB (no budget)" in lines


def test_a_router_without_a_cache_says_so() -> None:
    assert drawn(None, 60) == ["there is no token cache"]


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(st.text(max_size=20), st.integers(0, 10**18), st.integers(0, 100), st.booleans())
def test_lines_are_as_wide_as_asked(
    glyphs: Glyphs, words: str, number: int, width: int, is_full: bool
) -> None:
    cache = a_cache(
        tokenizer=words,
        refused={words: number},
        journal=words,
        tokens=number,
        size_bytes=number,
        failures=number,
    )
    for line in cache_lines(cache, width, is_full=is_full, glyphs=glyphs):
        text = "".join(cell.text for cell in line)
        assert cell_len(text) == width
        assert text.isprintable()
        assert not glyphs.is_ascii or text.isascii()
