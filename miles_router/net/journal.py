"""The journal: which turns outlive the router, as records in one directory.

A record is in the page cache when `append` returns, which SIGKILL cannot take back. Nothing is
synced: a power cut or a crash of the kernel may cost what the kernel had not written yet.

The first write that the disk refuses turns the journal off until a restart; requests go on. What it
holds then stays true: turns up to the failure, and removals as long as the disk takes them.

All calls are synchronous, for one caller at a time. This file must not know turns or tokens; which
file holds what is decided in `segments`.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from miles_router.core.trajectory.record import (
    BrokenFrame,
    OrphanRecord,
    RemovalRecord,
    UnfitSegment,
    frame,
    read_turn,
)
from miles_router.errors import ConfigFault
from miles_router.net.segments import Segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from miles_router.core.trajectory.record import TurnRecord

# Small enough to be read whole at a restart, and few enough files for a journal of 100 GB.
SEGMENT_BYTES = 256 << 20


class JournalFailed(Exception):
    """The disk refused a write: the journal is off. Said once; the message is for people."""


class Journal:
    """Turns and removals on disk.

    Attributes:
        is_on: whether turns are written: from `open` until a failure or `close`.
        failures: calls of `append`, `note_removed` and `tidy` that the disk refused.
    """

    def __init__(
        self,
        directory: Path,
        *,
        fingerprint: str,
        segment_bytes: int = SEGMENT_BYTES,
        warn: Callable[[str], None],
    ) -> None:
        """Touches nothing yet.

        Args:
            directory: made if it is not there; holds one journal and its lock.
            fingerprint: of the tokenizer; ids mean nothing to a router with another one.
            segment_bytes: a file is full at this size; one record may be larger.
            warn: told, for people, of what a kill left torn and of what is damaged.
        """
        self.is_on = False
        self.failures = 0
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._warn = warn
        self._lock_fd: int | None = None
        # What the disk did not take of removals and orphans.
        self._unwritten: list[int] = []
        self._unwritten_orphans: list[int] = []
        self._segments = Segments(
            directory, fingerprint=fingerprint, segment_bytes=segment_bytes, warn=warn
        )

    @property
    def size_bytes(self) -> int:
        """Of all files, dead records included."""
        return self._segments.size_bytes

    @property
    def live_bytes(self) -> int:
        """Of the records of turns that are alive."""
        return self._segments.live_bytes

    @property
    def last_number(self) -> int:
        """Highest number of any turn read, told of or appended, alive or not; -1 before any."""
        return self._segments.last_number

    @property
    def orphans(self) -> frozenset[int]:
        """Numbers of turns that are alive, and with which no trajectory ends any more."""
        return self._segments.orphans

    def open(self) -> Iterator[TurnRecord]:
        """Lock the directory, drop what a kill left torn, tidy up; once per object.

        Where the disk is full it opens all the same, as long as there is a file to go on with.

        Returns:
            The turns that are alive, read one by one in the order of their numbers: parents before
            children. Turns may be removed and appended meanwhile. A parent is missing where a file
            was damaged, and where a removal named the parent and not the child.

        Raises:
            ConfigFault: in use by a living router; of another tokenizer; not to be written to.
        """
        try:
            self._lock()
            self._segments.load()
            self._segments.drop_dead()
        except UnfitSegment as fault:
            self.close()
            hint = "give another directory, or start the router that wrote it"
            raise self._refusal(f"cannot be used: {fault}; {hint}") from None
        except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
            self.close()
            hint = "give a directory that the router may read and write"
            raise self._refusal(f"cannot be used: {error}; {hint}") from error
        self.is_on = True
        try:
            while self.tidy(self._segment_bytes):
                pass
        except JournalFailed as failure:
            self._warn(str(failure))
        return self._replay()

    def append(self, frame_bytes: bytes, number: int) -> None:
        """Write a turn's frame; does nothing where the journal is off.

        When it returns, SIGKILL does not lose the turn. A failed write leaves no part of it.

        Raises:
            JournalFailed: the disk did not take it; the journal is off from here on.
        """
        if not self.is_on:
            return
        try:
            self._segments.keep(frame_bytes, number)
        except OSError as error:
            raise self._failed(error) from error

    def note_removed(self, numbers: Iterable[int], orphaned: Iterable[int] = ()) -> None:
        """Write which turns are gone and which are orphans; delete files that nothing needs.

        Numbers that the journal does not hold are ignored. Where the journal is off, this is tried
        all the same, at each call and in `close`: what was deleted must not come back.

        Args:
            numbers: of the turns that are gone.
            orphaned: of turns that stay, with which no trajectory ends any more.

        Raises:
            JournalFailed: as for `append`; not where the journal is off.
        """
        segments = self._segments
        self._unwritten_orphans += [number for number in orphaned if segments.orphan(number)]
        self._unwritten += [number for number in numbers if segments.forget(number)]
        was_on = self.is_on
        try:
            with suppress(OSError):  # tried again, with the room that is made meanwhile
                # Before what followed them is gone with its file.
                self._write_orphans()
            self._segments.drop_dead()
            self._write_orphans()
            self._write_removals()
        except OSError as error:
            failure = self._failed(error)
            if was_on:
                raise failure from error

    def tidy(self, budget_bytes: int) -> bool:
        """Move what is alive out of the oldest file, while the dead outweigh the living.

        They do when dead records have more bytes than live ones, and more than a segment. Without
        it, one turn that lives long keeps all files behind it from being deleted.

        Args:
            budget_bytes: stop when so much is copied; one record at least.

        Returns:
            Whether there is more to do.

        Raises:
            JournalFailed: as for `append`; nothing is lost.
        """
        if not self.is_on or not self._segments.is_wasteful:
            return False
        try:
            self._segments.carry(budget_bytes)
        except OSError as error:
            raise self._failed(error) from error
        return self._segments.is_wasteful

    def close(self) -> None:
        """Let go of the directory; harmless when repeated."""
        with suppress(OSError):
            self._write_orphans()
            self._write_removals()
        self.is_on = False
        self._segments.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _replay(self) -> Iterator[TurnRecord]:
        for number in self._segments.live_numbers():
            try:
                frame_bytes = self._segments.fetch(number)
                if frame_bytes is not None:
                    yield read_turn(frame_bytes)
            except (OSError, BrokenFrame) as fault:
                self._segments.give_up(number, fault)

    def _write_orphans(self) -> None:
        if self._unwritten_orphans and self._segments.may_write:
            self._segments.write(frame(OrphanRecord(self._unwritten_orphans)))
            self._unwritten_orphans = []

    def _write_removals(self) -> None:
        if self._unwritten and self._segments.may_write:
            self._segments.write(frame(RemovalRecord(self._unwritten)))
            self._unwritten = []

    def _lock(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_fd = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock_fd, 20, 0).decode("ascii", "replace")
            self.close()
            hint = "stop that one, or give each router a directory of its own"
            raise self._refusal(f"is in use by another router (process {owner}); {hint}") from None
        with suppress(OSError):  # a full disk; the number only serves the message above
            os.ftruncate(self._lock_fd, 0)
            os.pwrite(self._lock_fd, str(os.getpid()).encode(), 0)

    def _refusal(self, why: str) -> ConfigFault:
        return ConfigFault(f"--journal {self._directory} {why}", key="journal")

    def _failed(self, error: OSError) -> JournalFailed:
        self.is_on = False
        self.failures += 1
        return JournalFailed(f"the journal {self._directory} is off until a restart: {error}")
