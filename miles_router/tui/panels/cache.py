"""The token cache: what it holds against its budgets, what it knew, and what it turned away.

A short form stands beside the workers, the full one is a screen of its own. Counts by reason are
shown largest first, with the words that the metrics use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core.counted import noun
from miles_router.tui import format as fmt
from miles_router.tui.glyphs import UNICODE, Glyphs, meter
from miles_router.tui.names import NOT_SHOWN
from miles_router.tui.rows.table import Cell, Line, Tone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from miles_router.core.cache_view import CacheView

_LABEL_WIDTH = 9
_FULL_LABEL_WIDTH = 15
_METER_WIDTH = 12
_LEAST_METER_WIDTH = 4
_AMOUNT_WIDTH = 21  # "99.9 GiB of 99.9 GiB!"
# Above this part of its budget a store is about to evict.
_NEARLY_FULL = 0.9
_KNOWN_PROMPTS = ("continued", "repeated")


def hit_share(cache: CacheView) -> float | None:
    """The part of prompts whose tokens were known; None before the first prompt."""
    all_prompts = sum(cache.prompts.values())
    known = sum(cache.prompts.get(kind, 0) for kind in _KNOWN_PROMPTS)
    return known / all_prompts if all_prompts else None


def cache_lines(
    cache: CacheView | None,
    width: int,
    *,
    is_full: bool = False,
    is_told: bool = True,
    glyphs: Glyphs = UNICODE,
) -> list[Line]:
    """The token cache in lines of exactly `width` cells; `is_full` for the screen of its own.

    `is_told`: the router tells whether there is one.
    """
    if not is_told:
        return [_whole(NOT_SHOWN, width, "dim", glyphs)]
    if cache is None:
        return [_whole("there is no token cache", width, "dim", glyphs)]
    label_width = min(_FULL_LABEL_WIDTH if is_full else _LABEL_WIDTH, width)
    room = width - label_width
    pairs = _full(cache, room, glyphs) if is_full else _short(cache, room, glyphs)
    lines = []
    if not cache.is_on:
        text = f"{glyphs.attention} off: nothing is stored or looked up"
        lines.append(_whole(text, width, "warn", glyphs))
    lines += [_pair(label, value, width, label_width, glyphs) for label, value in pairs]
    return lines


_Pair = tuple[str, Cell]


def _short(cache: CacheView, room: int, glyphs: Glyphs) -> Iterable[_Pair]:
    yield "tokens", Cell(f"{fmt.count(cache.tokens)} in {_turns(cache.turns)}")
    yield "bytes", _budget(cache.size_bytes, cache.budget_bytes, room, glyphs)
    yield "hits", _hits(cache, room, glyphs)
    yield "stored", Cell(_turns(cache.stored))
    yield "refused", _reasons(cache.refused, glyphs)
    yield "evicted", _reasons(cache.removed, glyphs)
    yield "gc", _sweep(cache)
    yield "R3", _budget(cache.r3_size_bytes, cache.r3_budget_bytes, room, glyphs)
    yield from _troubles(cache, glyphs)


def _full(cache: CacheView, room: int, glyphs: Glyphs) -> Iterable[_Pair]:
    yield "tokenizer", Cell(glyphs.safe(cache.tokenizer))
    holds = f"{fmt.count(cache.tokens)} in {_turns(cache.turns)} of "
    yield "tokens", Cell(f"{holds}{_amount(cache.trajectories, 'trajectory', 'trajectories')}")
    yield "bytes", _budget(cache.size_bytes, cache.budget_bytes, room, glyphs)
    yield "hits", _hits(cache, room, glyphs)
    yield "known tokens", Cell(f"{fmt.count(cache.cached_tokens)} of prompts")
    yield "prompts", _reasons(cache.prompts, glyphs)
    yield "reads", _reasons(cache.reads, glyphs)
    yield "stored", Cell(_turns(cache.stored))
    yield "refused", _reasons(cache.refused, glyphs)
    yield "evicted turns", _reasons(cache.removed, glyphs)
    yield "last gc", _sweep(cache)
    yield "R3 bytes", _budget(cache.r3_size_bytes, cache.r3_budget_bytes, room, glyphs)
    yield "R3 received", Cell(fmt.size(cache.r3_received_bytes))
    yield "R3 blocks", _reasons(cache.r3, glyphs)
    yield "R3 evicted", _reasons(cache.r3_removed, glyphs)
    yield "journal", _journal(cache, glyphs)
    yield from _troubles(cache, glyphs)


def _turns(count: int) -> str:
    return _amount(count, "turn")


def _amount(count: int, one: str, many: str = "") -> str:
    return f"{fmt.count(count)} {noun(count, one, many)}"


def _budget(size_bytes: int, budget_bytes: int, room: int, glyphs: Glyphs) -> Cell:
    if budget_bytes <= 0:
        return Cell(f"{fmt.size(size_bytes)} (no budget)", "" if size_bytes else "dim")
    share = size_bytes / budget_bytes
    is_tight = share >= _NEARLY_FULL
    text = f"{fmt.size(size_bytes)} of {fmt.size(budget_bytes)}"
    text += glyphs.attention if is_tight else ""
    return Cell(_metered(text, share, room, glyphs), "warn" if is_tight else "")


def _metered(text: str, share: float, room: int, glyphs: Glyphs) -> str:
    """`text`, a meter in a column of its own, and the percentage, as far as there is room."""
    head = text.ljust(_AMOUNT_WIDTH)
    cells = min(_METER_WIDTH, room - len(head) - 1)
    if cells < _LEAST_METER_WIDTH:
        return text
    drawn = f"{head} {meter(share, cells, glyphs)}"
    return f"{drawn} {fmt.percent(share)}" if room >= len(drawn) + 6 else drawn


def _hits(cache: CacheView, room: int, glyphs: Glyphs) -> Cell:
    share = hit_share(cache)
    if share is None:
        return Cell("no prompt yet", "dim")
    return Cell(_metered(f"{fmt.percent(share)} of prompts", share, room, glyphs))


def _reasons(counts: Mapping[str, int], glyphs: Glyphs) -> Cell:
    shown = sorted((item for item in counts.items() if item[1]), key=lambda item: -item[1])
    if not shown:
        return Cell("0", "dim")
    total = fmt.count(sum(count for _, count in shown))
    by_reason = [f"{glyphs.safe(name)} {fmt.count(count)}" for name, count in shown]
    return Cell(f"{total}: {', '.join(by_reason)}")


def _sweep(cache: CacheView) -> Cell:
    if cache.last_sweep_age_s is None:
        return Cell("never ran", "dim")
    freed = _turns(cache.last_sweep_removed)
    return Cell(f"{fmt.age(cache.last_sweep_age_s)} ago, freed {freed}")


def _journal(cache: CacheView, glyphs: Glyphs) -> Cell:
    if cache.journal == "none":
        return Cell("none", "dim")
    text = f"{glyphs.safe(cache.journal)}, {fmt.size(cache.journal_size_bytes)}"
    if cache.journal == "on":
        return Cell(text)
    return Cell(text + glyphs.attention, "warn")


def _troubles(cache: CacheView, glyphs: Glyphs) -> Iterable[_Pair]:
    if cache.failures:
        yield "failures", Cell(f"{fmt.count(cache.failures)}{glyphs.attention}", "bad")
    if cache.journal_failures:
        text = f"{_amount(cache.journal_failures, 'write')} failed{glyphs.attention}"
        yield "journal", Cell(text, "bad")


def _pair(label: str, value: Cell, width: int, label_width: int, glyphs: Glyphs) -> Line:
    label_width = min(label_width, width)
    return (
        Cell(fmt.fit(label, label_width, glyphs=glyphs), "dim"),
        Cell(fmt.fit(value.text, width - label_width, glyphs=glyphs), value.tone),
    )


def _whole(text: str, width: int, tone: Tone, glyphs: Glyphs) -> Line:
    return (Cell(fmt.fit(text, width, glyphs=glyphs), tone),)
