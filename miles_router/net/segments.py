"""The files of the journal: where each living turn stands, and which files are needed no longer.

Records are appended to the newest of `journal-00000001.log`, `journal-00000002.log`, ... Segments
go only from the oldest on, when none of their turns is alive: what is said of a turn stands in the
file of its record or in a later one, so it is there for as long as the record is.

A turn that lives long would pin every segment behind it; `carry` therefore copies what is alive in
the oldest segment to the end. A kill in between leaves a record twice, which is harmless: the later
copy counts, and it stands before any removal of the turn. That a turn is an orphan is written with
its copy, in front of it and with one write, and holds whatever comes later: a copy is never there
without it. So at no step can a kill lose a turn, or bring back one or its trajectory, no file is
ever written beside the journal and renamed into it, and the disk holds one segment more than
before, not a second journal.

This file must not know who holds the directory or what becomes of an OSError: all may raise it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from miles_router.core.trajectory.record import (
    FORMAT_VERSION,
    BrokenFrame,
    FrameReader,
    OrphanRecord,
    SegmentHeader,
    TornAt,
    TurnHead,
    UnfitSegment,
    check_frame,
    frame,
)
from miles_router.net.segment_file import SegmentFile, files_in, write_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Segments:
    """The segments in one directory, from `load` until `close`.

    Attributes:
        last_number: highest number of any turn seen or told of, alive or not; -1 before any.
        live_bytes: size of the records of turns that are alive.
    """

    def __init__(
        self, directory: Path, *, fingerprint: str, segment_bytes: int, warn: Callable[[str], None]
    ) -> None:
        """`warn`: told of each torn or damaged place, for people."""
        self.last_number = -1
        self.live_bytes = 0
        self._directory = directory
        self._fingerprint = fingerprint
        self._header = frame(SegmentHeader(FORMAT_VERSION, fingerprint))
        self._segment_bytes = segment_bytes
        self._warn = warn
        self._files: list[SegmentFile] = []  # oldest first; the last one is written to
        self._home: dict[int, SegmentFile] = {}  # of each turn that is alive
        self._orphans: set[int] = set()  # of those
        self._fd: int | None = None  # None: the last file must not be written to
        self._reading: tuple[SegmentFile, int] | None = None

    def __len__(self) -> int:
        return len(self._files)

    @property
    def size_bytes(self) -> int:
        """Of all files, dead records included."""
        return sum(segment.size_bytes for segment in self._files)

    @property
    def may_write(self) -> bool:
        """Whether the last file ends behind a whole record."""
        return self._fd is not None

    @property
    def is_wasteful(self) -> bool:
        """Whether dead records have more bytes than the live ones, and more than a segment."""
        records_bytes = self.size_bytes - len(self._header) * len(self._files)
        return records_bytes - self.live_bytes > max(self.live_bytes, self._segment_bytes)

    @property
    def orphans(self) -> frozenset[int]:
        """Of the turns that are alive, those with which no trajectory ends any more."""
        return frozenset(self._orphans)

    def live_numbers(self) -> list[int]:
        """Of all turns that are alive, ascending."""
        return sorted(self._home)

    def load(self) -> None:
        """Read all files, one at a time in memory, and only then mend those that a kill left torn.

        Raises:
            UnfitSegment: one is of another format or tokenizer; nothing is changed.
        """
        loaded = files_in(self._directory)
        tears = [self._scan(segment) for segment in loaded]
        for segment, torn in zip(loaded, tears, strict=True):
            if torn is None or self._is_kept(segment, torn):
                self._files.append(segment)
        self._orphans.intersection_update(self._home)
        newest = self._files[-1] if self._files else None
        if newest and not newest.is_damaged and newest.size_bytes < self._segment_bytes:
            self._fd = os.open(newest.path, os.O_WRONLY | os.O_APPEND)
        else:
            self._begin()

    def keep(self, frame_bytes: bytes, number: int) -> None:
        """Append the frame of a turn, which is alive from here on; an orphan stays one."""
        told = frame(OrphanRecord([number])) if number in self._orphans else b""
        offset = self.write(told + frame_bytes) + len(told)
        self._settle(number, self._files[-1], offset, len(frame_bytes))

    def write(self, frame_bytes: bytes) -> int:
        """Append a frame and return its offset; where it fails, nothing of it is left behind."""
        segment = self._files[-1]
        is_full = segment.size_bytes + len(frame_bytes) > self._segment_bytes
        if is_full and segment.size_bytes > len(self._header):
            segment = self._begin()
        assert self._fd is not None
        try:
            write_all(self._fd, frame_bytes)
        except OSError:
            try:
                os.ftruncate(self._fd, segment.size_bytes)
            except OSError:
                os.close(self._fd)
                self._fd = None
            raise
        offset = segment.size_bytes
        segment.size_bytes += len(frame_bytes)
        return offset

    def forget(self, number: int) -> bool:
        """The turn is alive no longer; False if it was not."""
        self._orphans.discard(number)
        return self._unsettle(number)

    def orphan(self, number: int) -> bool:
        """The turn is an orphan as long as it is alive; False if it is not alive, or was one."""
        if number not in self._home or number in self._orphans:
            return False
        self._orphans.add(number)
        return True

    def fetch(self, number: int) -> bytes | None:
        """The frame of a turn, unchecked; None if the turn is not alive."""
        segment = self._home.get(number)
        if segment is None:
            return None
        if self._reading is None or self._reading[0] is not segment:
            self._stop_reading()
            self._reading = (segment, os.open(segment.path, os.O_RDONLY))
        offset, size_bytes = segment.live[number]
        return os.pread(self._reading[1], size_bytes, offset)

    def drop_dead(self) -> None:
        """Delete files from the oldest on; one that was damaged is put aside for people to see."""
        while len(self._files) > 1 and not self._files[0].live:
            oldest = self._files[0]
            if self._reading is not None and self._reading[0] is oldest:
                self._stop_reading()
            if oldest.is_damaged:
                oldest.path.rename(oldest.path.with_suffix(".damaged"))
            else:
                oldest.path.unlink(missing_ok=True)
            del self._files[0]

    def carry(self, budget_bytes: int) -> None:
        """Copy what is alive in the oldest file to the end, at least one record; then drop_dead.

        When all files were the oldest once, no dead record is left: repeating it comes to an end.
        """
        if len(self._files) == 1:
            self._begin()
        for number in tuple(self._files[0].live):
            frame_bytes = self.fetch(number) or b""
            try:
                check_frame(frame_bytes)
            except BrokenFrame as fault:
                self.give_up(number, fault)
                continue
            self.keep(frame_bytes, number)
            budget_bytes -= len(frame_bytes)
            if budget_bytes <= 0:
                break
        self.drop_dead()

    def give_up(self, number: int, fault: Exception) -> None:
        """A turn that cannot be read: say so, and forget it."""
        self._warn(f"turn {number} of the journal {self._directory} is lost: {fault}")
        self.forget(number)

    def close(self) -> None:
        """Close the files and forget them; harmless when repeated."""
        self._files.clear()
        self._home.clear()
        self._orphans.clear()
        self._stop_reading()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _scan(self, segment: SegmentFile) -> TornAt | None:
        """Note what is alive; where the file is torn, if it is."""
        data = segment.path.read_bytes()
        segment.size_bytes = len(data)
        reader = FrameReader(data)
        if reader.header is None:
            # A kill while the file was made leaves a part of the header, and nothing of worth.
            is_begun = self._header.startswith(data)
            return TornAt(0, "it has no header", records_follow=not is_begun)
        try:
            reader.header.check(self._fingerprint)
        except UnfitSegment as fault:
            raise UnfitSegment(f"{segment.path.name}: {fault}") from None
        for offset, head in reader.heads():
            if isinstance(head, TurnHead):
                self._settle(head.number, segment, offset, reader.end - offset)
                continue
            # Also one that is gone: what is said here must not hold for a new turn of its number.
            self.last_number = max(self.last_number, *head.numbers, -1)
            if isinstance(head, OrphanRecord):
                self._orphans.update(head.numbers)
            else:
                for number in head.numbers:
                    self.forget(number)
        return reader.torn

    def _is_kept(self, segment: SegmentFile, torn: TornAt) -> bool:
        """Mend a torn file; False if nothing was in it."""
        if torn.records_follow:
            segment.is_damaged = True
            lost_bytes = segment.size_bytes - torn.offset
            self._warn(
                f"{segment.path} is damaged at byte {torn.offset}: {torn.reason}. The {lost_bytes} "
                "bytes from there on are not used; turns in them are lost, removals undone"
            )
        elif torn.offset == 0:
            segment.path.unlink()
            return False
        else:
            self._warn(
                f"{segment.path} ends within a record, as a kill leaves it: {torn.reason}. "
                f"The record at byte {torn.offset} is dropped"
            )
            os.truncate(segment.path, torn.offset)
            segment.size_bytes = torn.offset
        return True

    def _settle(self, number: int, segment: SegmentFile, offset: int, size_bytes: int) -> None:
        self._unsettle(number)
        segment.live[number] = (offset, size_bytes)
        self._home[number] = segment
        self.live_bytes += size_bytes
        self.last_number = max(self.last_number, number)

    def _unsettle(self, number: int) -> bool:
        segment = self._home.pop(number, None)
        if segment is None:
            return False
        _offset, size_bytes = segment.live.pop(number)
        self.live_bytes -= size_bytes
        return True

    def _begin(self) -> SegmentFile:
        """A new last file. Where it cannot be made, the last one stays."""
        index = self._files[-1].index + 1 if self._files else 1
        segment = SegmentFile(self._directory, index)
        fd = segment.create(self._header)
        if self._fd is not None:
            os.close(self._fd)
        self._fd = fd
        self._files.append(segment)
        return segment

    def _stop_reading(self) -> None:
        if self._reading is not None:
            os.close(self._reading[1])
            self._reading = None
