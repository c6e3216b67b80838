"""The token cache at work: the pure store, with a tokenizer in threads and a journal on disk.

What is kept and found is decided in `core.trajectory`; who asks, in `plugins` and `web`. Here are
the steps that take time or touch files. A turn is stored and in the journal before the last byte of
its answer leaves, so that who has the answer can ask for the trajectory, also after a restart.

Invariant: the journal holds turns and removals in the order in which they happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from miles_router.core.r3 import MemoryPayload
from miles_router.core.trajectory.counters import CacheCounters
from miles_router.net.journal import JournalFailed
from miles_router.net.quick_thread import QuickThread
from miles_router.net.r3_files import FilePayload, R3FileError
from miles_router.net.turn_records import append_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from structlog.typing import FilteringBoundLogger

    from miles_router.core.cache_view import JournalState
    from miles_router.core.events import EventLog
    from miles_router.core.r3 import DecodedR3, ExpertShape, R3Block
    from miles_router.core.tokenizing import Tokenizer
    from miles_router.core.trajectory.store import TrajectoryStore
    from miles_router.core.trajectory.turn import NewTurn, Turn
    from miles_router.net.journal import Journal
    from miles_router.net.r3_files import R3Files

T = TypeVar("T")

# Appending this much takes the loop 0.1 ms; the routed experts of a long answer take more.
APPEND_IN_THREAD_BYTES = 262_144
# Id, length, log-probability and text of a token.
RECORD_TOKEN_BYTES = 15
# The machine has a few cores, and the loop needs one of them.
MAX_THREADS = 4
# A removal takes 40 us.
NOTED_AT_ONCE = 32
# A sweep works for so long, then leaves the loop to requests for as long.
SLICE_S = 0.002
PAUSE_S = 0.002
# Copied at once, while turns that finish wait to be written: about 10 ms.
JOURNAL_SLICE_BYTES = 4 * 1024 * 1024
# So many failures in a row are no accident.
MAX_FAILURES_IN_ROW = 5


@dataclass(slots=True, eq=False)
class TokenCache:
    """One router's token cache.

    Args:
        store: what is kept.
        tokenizer: of the workers' model.
        shape: of the model's routed experts.
        captures_r3: ask workers for routed experts.
        journal: None: nothing outlives the process.
        r3_files: None: routed experts stay in memory.
        unix_offset_s: monotonic time + this = Unix time.
        is_on: off after repeated failures; requests then pass untouched.
        quick_thread: for work of less than a millisecond.
    """

    store: TrajectoryStore
    tokenizer: Tokenizer
    shape: ExpertShape
    events: EventLog
    log: FilteringBoundLogger
    unix_offset_s: float
    captures_r3: bool = False
    journal: Journal | None = None
    r3_files: R3Files | None = None
    counters: CacheCounters = field(default_factory=CacheCounters)
    is_on: bool = True
    quick_thread: QuickThread = field(default_factory=QuickThread)
    _failures_in_row: int = 0
    _told: set[tuple[str, str]] = field(default_factory=set)
    _writing: trio.Lock = field(default_factory=trio.Lock)
    _pressed: trio.Event = field(default_factory=trio.Event)
    _threads: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(MAX_THREADS)
    )

    @property
    def journal_state(self) -> JournalState | None:
        """What is shown of the journal; None where there is none."""
        return self.journal

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` in one of the cache's threads. Cancellation: after it is done."""
        return await trio.to_thread.run_sync(work, limiter=self._threads)

    async def keep_r3(self, decoded: DecodedR3) -> R3Block:
        """Put the rows of an answer where they are kept.

        Raises:
            R3FileError: the disk did not take them.
        """
        if self.r3_files is None:
            return decoded.block(MemoryPayload(decoded.data.tobytes()))
        saved = await self.in_thread(partial(self.r3_files.save, decoded.data))
        return decoded.block(saved)

    def drop_unreadable(self, turns: Iterable[Turn]) -> None:
        """Forget routed experts whose file is gone, so that the next turn asks for them anew."""
        for turn in turns:
            payload = None if turn.r3 is None else turn.r3.payload
            if isinstance(payload, FilePayload) and not payload.path.exists():
                self.store.drop_r3(turn, "lost")

    async def keep(self, tenant: str, new: NewTurn) -> Turn:
        """Store a turn, and write it to the journal.

        Where nothing large has to be written, this takes no turn of the loop: 20 us less.
        Cancellation: it is stored and written, or neither.
        """
        if self._writing.locked() or not self._is_small(new):
            for span in new.versions:
                self.note_version(span.version)
            with trio.CancelScope(shield=True):
                async with self._writing:
                    turn = self.store.add(tenant, new, trio.current_time())
                    await self._write(turn, new)
                    await self._tidy()
            self._note_stored()
            return turn
        turn = self.keep_now(tenant, new)
        if self.store.has_removed:
            await self.tidy()
        return turn

    def keeps_at_once(self, new: NewTurn) -> bool:
        """Whether `keep_now` may be used: nobody writes, and nothing has to be removed for it."""
        is_busy = self._writing.locked() or self.store.has_removed or self.store.is_nearly_full
        return not is_busy and self._is_small(new)

    def keep_now(self, tenant: str, new: NewTurn) -> Turn:
        """`keep` without a wait, where `keeps_at_once`; a sweep tells of what it removed."""
        for span in new.versions:
            self.note_version(span.version)
        turn = self.store.add(tenant, new, trio.current_time())
        if self.journal is not None:
            error = append_turn(self.journal, turn, new, turn.trajectory, self._unix_now())
            if error is not None:
                self._journal_failed(error)
        self._note_stored()
        return turn

    def _note_stored(self) -> None:
        self.counters.stored += 1
        self._failures_in_row = 0
        if self.store.is_nearly_full or self.store.has_removed:
            self.press()

    def _is_small(self, new: NewTurn) -> bool:
        """Whether its record is written quicker than a thread would start."""
        if self.journal is None:
            return True
        r3 = new.r3
        r3_bytes = r3.size_bytes if r3 and isinstance(r3.payload, MemoryPayload) else 0
        tokens = len(new.prompt) + len(new.output.run)
        return r3_bytes + tokens * RECORD_TOKEN_BYTES <= APPEND_IN_THREAD_BYTES

    async def _write(self, turn: Turn, new: NewTurn) -> None:
        work = partial(append_turn, self.journal, turn, new, turn.trajectory, self._unix_now())
        if (error := await self.in_thread(work)) is not None:
            self._journal_failed(error)

    def _unix_now(self) -> float:
        return trio.current_time() + self.unix_offset_s

    def _journal_failed(self, error: Exception) -> None:
        self.counters.journal_failures += 1
        self.events.add(
            "journal_failed",
            f"{error}; requests go on, unwritten turns are lost on a restart",
            trio.current_time(),
            reason=type(error).__name__,
        )

    async def tidy(self) -> None:
        """Tell journal and files what the store has removed."""
        with trio.CancelScope(shield=True):
            async with self._writing:
                await self._tidy()

    async def _tidy(self) -> None:
        removed, orphaned = self.store.take_removed(), self.store.take_orphaned()
        forget = partial(self._forget, removed, orphaned)
        is_quick = len(removed) + len(orphaned) <= NOTED_AT_ONCE
        error = forget() if is_quick else await self.in_thread(forget)
        if error is not None:
            self._journal_failed(error)
        freed = self.store.take_freed()
        files = [payload for payload in freed if isinstance(payload, FilePayload)]
        if files:
            await self.in_thread(partial(self._discard, files))

    def _forget(self, removed: list[int], orphaned: list[int]) -> Exception | None:
        """Tell the journal of removals and orphans; what went wrong. May run in a thread."""
        if (removed or orphaned) and self.journal is not None:
            try:
                self.journal.note_removed(removed, orphaned)
            except JournalFailed as error:
                return error
        return None

    def _discard(self, payloads: list[FilePayload]) -> None:
        for payload in payloads:
            try:
                payload.discard()
            except R3FileError as error:
                self.log.warning("r3_file_stays", why=str(error))

    async def sweep(self) -> int:
        """Remove what has to go, in slices, with the loop free between them; how many turns.

        Cancellation: what was removed until then is told to journal and files with the next turn.
        """
        before = self.store.turns
        until = trio.current_time() + SLICE_S
        while self.store.sweep_one(trio.current_time()):
            if trio.current_time() > until:
                await trio.sleep(PAUSE_S)
                until = trio.current_time() + SLICE_S
        await self.tidy()
        await self._shorten_journal()
        counters = self.counters
        counters.sweeps += 1
        counters.last_sweep_at = trio.current_time()
        counters.last_sweep_removed = max(0, before - self.store.turns)
        return counters.last_sweep_removed

    async def _shorten_journal(self) -> None:
        """Let the journal leave dead records behind, a few megabytes at a time."""
        journal, has_more = self.journal, True
        while journal is not None and has_more:
            async with self._writing:
                try:
                    has_more = await self.in_thread(partial(journal.tidy, JOURNAL_SLICE_BYTES))
                except JournalFailed as error:
                    self._journal_failed(error)
                    return

    def note_version(self, version: str | None) -> None:
        """An answer's weight version, or the pool's newest; a new one calls for a sweep."""
        if self.store.note_version(version):
            self.press()

    def press(self) -> None:
        """Ask for a sweep before its interval is over."""
        self._pressed.set()

    async def wait_pressed(self) -> None:
        """Return when a sweep should not wait for its interval."""
        await self._pressed.wait()
        self._pressed = trio.Event()

    def close(self) -> None:
        """Let go of the journal; nothing is stored afterwards."""
        self.is_on = False
        if self.journal is not None:
            self.journal.close()
        if self.r3_files is not None:
            self.r3_files.close()

    def tell_once(self, kind: str, reason: str, message: str) -> None:
        """An event, the first time that there is this reason for it; counters tell of the others.

        `kind` ends with `_refused` or `_failed`, so that the event is a warning in the log.
        """
        if (kind, reason) not in self._told:
            self._told.add((kind, reason))
            self.events.add(kind, message, trio.current_time(), reason=reason)

    def fail(self, error: Exception) -> None:
        """The cache itself failed; its request goes through. Repeated, it is switched off."""
        self.counters.failures += 1
        self._failures_in_row += 1
        self.log.error("token_cache_failed", exc_info=error)
        if self.is_on and self._failures_in_row >= MAX_FAILURES_IN_ROW:
            self.is_on = False
            self.events.add(
                "token_cache_failed",
                f"the token cache failed {MAX_FAILURES_IN_ROW} times in a row and is off until a "
                f"restart: {type(error).__name__}; requests go on without it",
                trio.current_time(),
                reason=type(error).__name__,
            )
