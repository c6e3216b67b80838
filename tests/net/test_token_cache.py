"""The token cache with its journal: what outlives the process, and what a full disk costs."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import structlog
import trio
import trio.testing
from msgspec.structs import replace

from miles_router.core.events import EventLog
from miles_router.core.r3 import DecodedR3, ExpertShape
from miles_router.core.radix.run import TokenRun
from miles_router.core.radix.tree import run_between
from miles_router.core.trajectory.reading import Missing, Reading, read_text
from miles_router.core.trajectory.store import StoreLimits, TrajectoryStore
from miles_router.core.trajectory.turn import NewTurn, SpelledOutput, Turn, VersionSpan
from miles_router.net.journal import Journal, JournalFailed
from miles_router.net.r3_files import R3Files
from miles_router.net.token_cache import TokenCache
from miles_router.net.turn_records import restore
from tests.doubles.toy_tokenizer import ToyTokenizer

if TYPE_CHECKING:
    from pathlib import Path


def letters(text: str) -> TokenRun:
    """One token for each letter."""
    return TokenRun.of([ord(one) for one in text], [1] * len(text), text.encode())


def new_turn(
    prompt: str, output: str, parent: Turn | None = None, *, rid: str | None = None, **more: Any
) -> NewTurn:
    run = letters(output)
    return NewTurn(
        session=None,
        rid=rid,
        parent=parent,
        inherited=0 if parent is None else parent.end,
        prompt=letters(prompt),
        is_text_prompt=True,
        output=SpelledOutput(run, len(run)),
        logprobs=np.arange(len(run), dtype="<f4").tobytes(),
        versions=(VersionSpan("7", 0, len(run)),),
        finish="stop",
        **more,
    )


def noting(logged: list[Any]) -> Any:
    """A processor of structlog that keeps every event."""

    def note(_log: object, _name: str, event: Any) -> str:
        logged.append(event)
        return ""

    return note


def make_cache(
    directory: Path | None = None,
    *,
    budget_bytes: int = 1 << 30,
    r3_dir: Path | None = None,
    keep_versions: int = 8,
) -> TokenCache:
    """A cache; with a directory it knows what the journal there says."""
    logged: list[Any] = []
    tokenizer = ToyTokenizer()
    cache = TokenCache(
        store=TrajectoryStore(StoreLimits(budget_bytes, 1 << 30, None, keep_versions)),
        tokenizer=tokenizer,
        shape=ExpertShape(),
        events=EventLog(),
        log=structlog.wrap_logger(structlog.ReturnLogger(), processors=[noting(logged)]),
        unix_offset_s=1_000.0,
        r3_files=None if r3_dir is None else R3Files(r3_dir),
    )
    if directory is not None:
        journal = Journal(directory, fingerprint=tokenizer.fingerprint, warn=logged.append)
        restore(
            cache.store,
            journal.open(),
            orphans=journal.orphans,
            unix_offset_s=cache.unix_offset_s,
            r3_files=cache.r3_files,
        )
        cache.store.continue_after(journal.last_number)
        cache.journal = journal
    return cache


def read(cache: TokenCache, text: str) -> Reading | Missing:
    namespace = cache.store.namespace("t")
    if namespace is None:
        return Missing(0)
    return read_text(namespace, cache.store.gone, text.encode(), session=None, rid=None)


def columns(reading: Reading | Missing) -> Any:
    assert isinstance(reading, Reading)
    return (
        reading.tokens.tolist(), reading.loss_mask.tolist(),
        np.nan_to_num(reading.logprobs, nan=9.0).tolist(), reading.spans, reading.rids,
    )  # fmt: skip


async def test_a_restarted_cache_reads_what_the_first_one_kept(tmp_path: Path) -> None:
    first = make_cache(tmp_path)
    turn = await first.keep("t", new_turn("abc", "de", rid="r1"))
    await first.keep("t", new_turn("f", "g", turn, rid="r2"))
    await first.keep("t", new_turn("xy", "z"))
    assert turn.trajectory is None
    first.close()
    second = make_cache(tmp_path)
    for text in ("abcde", "abcdefg", "xyz"):
        assert columns(read(second, text)) == columns(read(first, text))
    namespaces = [one.store.namespaces["t"] for one in (first, second)]
    assert list(namespaces[1].trajectories) == list(namespaces[0].trajectories)
    times = [[t.used_at for t in one.trajectories.values()] for one in namespaces]
    assert times[1] == pytest.approx(times[0])
    third = await second.keep("t", new_turn("new", "er"))
    assert third.number > 3
    second.close()


async def test_what_was_deleted_stays_deleted(tmp_path: Path) -> None:
    first = make_cache(tmp_path)
    turn = await first.keep("t", new_turn("abc", "de"))
    await first.keep("t", new_turn("xy", "z"))
    assert turn.trajectory is not None
    first.store.evict(turn.trajectory, "deleted")
    assert await first.sweep() == 1
    first.close()
    second = make_cache(tmp_path)
    assert read(second, "abcde") == Missing(0)
    assert isinstance(read(second, "xyz"), Reading)
    second.close()


@pytest.mark.parametrize("case", ["fork", "cut", "last of a longer one", "in flight"])
async def test_a_deleted_trajectory_whose_turn_another_one_continues_stays_deleted(
    tmp_path: Path, case: str
) -> None:
    first = make_cache(tmp_path)
    turn = shared = await first.keep("t", new_turn("abc", "de"))
    if case == "fork":
        turn = await first.keep("t", new_turn("x", "A", turn))
    elif case == "last of a longer one":
        turn = shared = await first.keep("t", new_turn("x", "A", turn))
    assert turn.trajectory is not None
    name = turn.trajectory.id
    if case == "in flight":
        first.store.hold(turn, trio.current_time())
        first.store.evict(turn.trajectory, "deleted")
        await first.sweep()
    cut = shared.end - 1 if case in {"cut", "last of a longer one"} else shared.end
    fork = await first.keep("t", replace(new_turn("y", "B", shared), inherited=cut))
    if turn.trajectory is not None:
        first.store.evict(turn.trajectory, "deleted")
        await first.sweep()
    assert fork.trajectory is not None
    first.close()
    for _ in range(3):  # what is known of it is written once, and carried on
        again = make_cache(tmp_path)
        assert list(again.store.namespaces["t"].trajectories) == [fork.trajectory.id] != [name]
        assert again.store.turns == first.store.turns
        text = run_between(fork.node, 0, fork.end).text.decode()
        assert columns(read(again, text)) == columns(read(first, text))
        assert again.journal is not None
        again.journal._segments.carry(1 << 20)
        again.close()


async def test_a_turn_that_is_deleted_while_it_is_written_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_cache(tmp_path)
    deleted = trio.Event()

    async def after_that(_cache: TokenCache, work: Any) -> Any:
        await deleted.wait()
        return work()

    monkeypatch.setattr(TokenCache, "in_thread", after_that)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.keep, "t", new_turn("abc", "x" * 30_000))
        await trio.testing.wait_all_tasks_blocked()
        (trajectory,) = first.store.namespaces["t"].trajectories.values()
        turn = trajectory.tip
        first.store.hold(turn, trio.current_time())
        first.store.evict(trajectory, "deleted")
        deleted.set()
    fork = await first.keep("t", new_turn("y", "B", turn))
    assert fork.trajectory is not None
    first.close()
    again = make_cache(tmp_path)
    assert list(again.store.namespaces["t"].trajectories) == [fork.trajectory.id]
    assert again.store.turns == 2
    again.close()


async def test_a_smaller_budget_after_the_restart_keeps_the_newest(tmp_path: Path) -> None:
    first = make_cache(tmp_path)
    for number in range(50):
        await first.keep("t", new_turn(f"{number:02}", "answer" * 20))
    first.close()
    second = make_cache(tmp_path, budget_bytes=first.store.size_bytes // 4)
    assert isinstance(read(second, "49" + "answer" * 20), Reading)
    assert not isinstance(read(second, "00" + "answer" * 20), Reading)
    assert second.store.size_bytes <= second.store.limits.budget_bytes
    second.close()


@pytest.mark.parametrize("in_files", [False, True])
async def test_routed_experts_outlive_the_process(tmp_path: Path, in_files: bool) -> None:
    r3_dir = tmp_path / "r3" if in_files else None
    first = make_cache(tmp_path / "journal", r3_dir=r3_dir)
    rows = DecodedR3(0, np.arange(8, dtype=np.uint8).reshape(4, 2), ignored_start=False)
    block = await first.keep_r3(rows)
    await first.keep("t", new_turn("abc", "de", r3=block, r3_missing=""))
    first.close()
    second = make_cache(tmp_path / "journal", r3_dir=r3_dir)
    found = read(second, "abcde")
    assert isinstance(found, Reading)
    kept = found.turns[0].r3
    assert kept is not None
    assert (kept.start, kept.rows, kept.width, kept.dtype) == (0, 4, 2, "|u1")
    assert kept.payload.load() == bytes(range(8))
    second.close()


async def test_a_full_disk_ends_the_journal_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(tmp_path)
    await cache.keep("t", new_turn("abc", "de"))

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.write", full)
        for text in ("kl", "mn"):
            await cache.keep("t", new_turn(text, "op"))
    assert isinstance(read(cache, "klop"), Reading)
    assert isinstance(read(cache, "mnop"), Reading)
    assert cache.counters.journal_failures == 1
    assert [event.kind for event in cache.events.since(0)] == ["journal_failed"]
    assert "No space left" in cache.events.since(0)[0].message
    cache.close()
    again = make_cache(tmp_path)
    assert isinstance(read(again, "abcde"), Reading)
    assert not isinstance(read(again, "klop"), Reading)
    again.close()


async def test_turns_are_written_in_the_order_they_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(tmp_path)
    assert cache.journal is not None
    append, written = cache.journal.append, list[int]()

    def note(data: bytes, number: int) -> None:
        written.append(number)
        append(data, number)

    monkeypatch.setattr(cache.journal, "append", note)
    async with trio.open_nursery() as nursery:
        for number in range(6):
            # Every other one is so long that a thread writes it.
            output = "x" * (30_000 if number % 2 else 3)
            nursery.start_soon(cache.keep, "t", new_turn(f"p{number}", output))
    assert written == [1, 2, 3, 4, 5, 6]
    cache.close()


async def test_an_insert_that_evicts_tells_the_journal(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, budget_bytes=12_000)
    for number in range(30):
        await cache.keep("t", new_turn(f"{number:02}", "answer" * 20))
    kept = cache.store.turns
    assert kept < 30
    cache.close()
    again = make_cache(tmp_path)
    assert again.store.turns == kept
    again.close()


async def test_a_sweep_leaves_the_loop_to_others() -> None:
    cache = make_cache()
    for number in range(2_000):
        await cache.keep("t", new_turn(f"{number:04}", "answer" * 10))
    for trajectory in list(cache.store.namespaces["t"].trajectories.values()):
        cache.store.evict(trajectory, "deleted")
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert await cache.sweep() == 2_000
        nursery.cancel_scope.cancel()
    assert turns > 3
    assert cache.store.size_bytes == 0
    assert cache.counters.last_sweep_removed == 2_000


async def test_a_new_weight_version_and_a_full_budget_call_for_a_sweep() -> None:
    cache = make_cache(budget_bytes=100_000)
    for version in ("1", "2"):
        cache.note_version(version)
        with trio.fail_after(1):
            await cache.wait_pressed()
    cache.note_version("2")
    with trio.move_on_after(0.05) as waiting:
        await cache.wait_pressed()
    assert waiting.cancelled_caught
    number = 0
    while not cache.store.is_nearly_full:
        await cache.keep("t", new_turn(f"{number:04}", "answer" * 10))
        number += 1
    with trio.fail_after(1):
        await cache.wait_pressed()
    await cache.sweep()
    assert not cache.store.is_nearly_full


async def test_failures_in_a_row_switch_it_off_and_a_success_between_forgives() -> None:
    cache = make_cache()
    for _ in range(4):
        cache.fail(ValueError("no"))
    await cache.keep("t", new_turn("a", "b"))
    for _ in range(4):
        cache.fail(ValueError("no"))
    assert cache.is_on
    cache.fail(ValueError("no"))
    assert not cache.is_on
    assert cache.counters.failures == 9


async def test_a_journal_that_fails_while_removing_is_off_with_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(tmp_path)
    turn = await cache.keep("t", new_turn("abc", "de"))
    assert cache.journal is not None
    assert turn.trajectory is not None

    def fail(*_numbers: object) -> None:
        raise JournalFailed("the disk is gone")

    monkeypatch.setattr(cache.journal, "note_removed", fail)
    cache.store.evict(turn.trajectory, "deleted")
    await cache.sweep()
    assert [event.kind for event in cache.events.since(0)] == ["journal_failed"]
