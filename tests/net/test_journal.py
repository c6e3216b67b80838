"""What a journal remembers, and which directories it refuses."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from miles_router.core.radix.run import EMPTY, TokenRun
from miles_router.core.trajectory.record import SegmentHeader, TurnRecord, frame
from miles_router.errors import ConfigFault
from miles_router.net.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

FIRST = "journal-00000001.log"


def turn(number: int, *, parent: int | None = None, size_bytes: int = 0) -> TurnRecord:
    """A turn whose record is a little larger than `size_bytes`."""
    return TurnRecord(
        number=number,
        namespace="tenant",
        trajectory=f"t-{number}",
        session=None,
        rid=f"rid-{number}",
        parent=parent,
        inherited=0,
        prompt=TokenRun.of([number], [min(size_bytes, 60_000)], b"x" * min(size_bytes, 60_000)),
        is_text_prompt=True,
        output=EMPTY,
        visible_tokens=0,
        partial=b"",
        logprobs=b"",
        versions=(),
        finish="stop",
        stored_at_unix=1.7e9,
    )


class Opened:
    """A journal on `directory` with what it found there, and what it said."""

    def __init__(
        self, directory: Path, *, fingerprint: str = "f" * 64, segment_bytes: int = 1 << 20
    ) -> None:
        self.warnings: list[str] = []
        self.journal = Journal(
            directory,
            fingerprint=fingerprint,
            segment_bytes=segment_bytes,
            warn=self.warnings.append,
        )
        self.found: list[TurnRecord] = []

    def __enter__(self) -> Opened:
        self.found = list(self.journal.open())
        return self

    def __exit__(self, *_exc: object) -> None:
        self.journal.close()

    @property
    def numbers(self) -> list[int]:
        return [record.number for record in self.found]

    def add(self, *numbers: int, size_bytes: int = 0) -> None:
        for number in numbers:
            self.journal.append(frame(turn(number, size_bytes=size_bytes)), number)


def numbers_in(directory: Path) -> list[int]:
    """What a router would know that finds `directory`."""
    with Opened(directory) as opened:
        assert opened.warnings == []
        return opened.numbers


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != "lock")


def test_turns_outlive_the_journal_that_wrote_them(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "here"
    records = [turn(3), turn(4, parent=3), turn(9)]
    with Opened(directory) as opened:
        assert (opened.found, opened.journal.last_number) == ([], -1)
        for record in records:
            opened.journal.append(frame(record), record.number)
        assert opened.journal.last_number == 9
        assert opened.journal.live_bytes == sum(len(frame(record)) for record in records)
        assert opened.journal.size_bytes == (directory / FIRST).stat().st_size
    for _ in range(2):
        with Opened(directory) as opened:
            assert (opened.found, opened.warnings) == (records, [])
            assert (opened.journal.last_number, opened.journal.is_on) == (9, True)
    assert files(directory) == [FIRST]
    assert (directory.stat().st_mode | (directory / FIRST).stat().st_mode) & 0o077 == 0


def test_what_was_removed_does_not_come_back(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        opened.add(1, 2, 3, 4)
        opened.journal.note_removed([2, 77])
        opened.journal.note_removed([])
        opened.journal.note_removed([4, 2])
    with Opened(tmp_path) as opened:
        assert (opened.numbers, opened.journal.last_number) == ([1, 3], 4)
        opened.add(5)
        opened.journal.note_removed([1])
    assert numbers_in(tmp_path) == [3, 5]


def test_turns_may_go_and_come_while_they_are_read(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        opened.add(*range(1, 7))
    journal = Opened(tmp_path).journal
    read = []
    for record in journal.open():
        read.append(record.number)
        journal.note_removed([record.number + 1])
        journal.append(frame(turn(record.number + 10)), record.number + 10)
    journal.close()
    assert read == [1, 3, 5]
    assert numbers_in(tmp_path) == [1, 3, 5, 11, 13, 15]


def test_a_record_torn_at_any_byte_is_dropped_with_one_warning(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        opened.add(1, 2)
    whole = (tmp_path / FIRST).read_bytes()
    last = frame(turn(3))
    for kept in range(1, len(last)):
        (tmp_path / FIRST).write_bytes(whole + last[:kept])
        with Opened(tmp_path) as opened:
            assert opened.numbers == [1, 2]
            (warning,) = opened.warnings
            assert f"byte {len(whole)} is dropped" in warning
            opened.add(4)
        assert numbers_in(tmp_path) == [1, 2, 4]


@pytest.mark.parametrize("kept", [0, 1, 20, 80])
def test_a_file_that_was_only_begun_is_no_damage(tmp_path: Path, kept: int) -> None:
    header = frame(SegmentHeader(1, "f" * 64))
    assert kept < len(header)
    (tmp_path / FIRST).write_bytes(header[:kept])
    with Opened(tmp_path) as opened:
        assert (opened.found, opened.warnings) == ([], [])
        opened.add(1)
    assert numbers_in(tmp_path) == [1]


def test_a_second_router_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        opened.add(1)
        with pytest.raises(ConfigFault, match=f"process {os.getpid()}.*of its own") as refused:
            Opened(tmp_path).journal.open()
        assert refused.value.key == "journal"
        opened.add(2)
    assert numbers_in(tmp_path) == [1, 2]


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (SegmentHeader(1, "e" * 64), "another tokenizer"),
        (SegmentHeader(2, "f" * 64), "format 2"),
    ],
)
def test_a_journal_of_others_is_refused_and_not_touched(
    tmp_path: Path, header: SegmentHeader, why: str
) -> None:
    with Opened(tmp_path) as opened:
        opened.add(1)
    with (tmp_path / FIRST).open("ab") as file:
        file.write(frame(turn(2))[:-1])
    theirs = tmp_path / "journal-00000007.log"
    theirs.write_bytes(frame(header) + frame(turn(3)))
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    for _ in range(2):  # and let go of
        with pytest.raises(ConfigFault, match=f"{theirs.name}: .*{why}.*another dir") as refused:
            Opened(tmp_path).journal.open()
        assert refused.value.key == "journal"
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / FIRST).mkdir(parents=True)
    for name in ("file", "file/below", "folder", "nul\0"):
        with pytest.raises(ConfigFault, match=r"cannot be used: .* read and write") as refused:
            Opened(tmp_path / name).journal.open()
        assert refused.value.key == "journal"


@pytest.mark.parametrize("call", ["open", "write"])
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_disk_that_takes_no_first_byte_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def refuse(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(ConfigFault, match=os.strerror(number)):
            Opened(tmp_path).journal.open()
    assert numbers_in(tmp_path) == []


def test_a_closed_journal_does_nothing(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        opened.add(1, 2)
    before = (tmp_path / FIRST).read_bytes()
    opened.add(3)
    opened.journal.note_removed([1])
    assert not opened.journal.tidy(1)
    opened.journal.close()
    assert (tmp_path / FIRST).read_bytes() == before
    assert numbers_in(tmp_path) == [1, 2]
