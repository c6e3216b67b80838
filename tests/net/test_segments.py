"""Which files of a journal go when, and what a damaged one costs."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from miles_router.core.trajectory.record import OrphanRecord, SegmentHeader, frame
from tests.net.test_journal import Opened, files, numbers_in, turn

if TYPE_CHECKING:
    from pathlib import Path

HEADER_BYTES = len(frame(SegmentHeader(1, "f" * 64)))
# Room for three records of 300 bytes.
SMALL = HEADER_BYTES + 3 * len(frame(turn(10, size_bytes=300)))


def small(directory: Path) -> Opened:
    return Opened(directory, segment_bytes=SMALL)


def log(*indexes: int) -> list[str]:
    return [f"journal-{index:08}.log" for index in indexes]


def fill(directory: Path, *numbers: int) -> None:
    with small(directory) as opened:
        opened.add(*numbers, size_bytes=300)


def test_a_full_file_is_followed_by_the_next(tmp_path: Path) -> None:
    fill(tmp_path, *range(10, 20))
    assert files(tmp_path) == log(1, 2, 3, 4)
    sizes = [(tmp_path / name).stat().st_size for name in files(tmp_path)]
    assert sizes[:3] == [SMALL] * 3
    with small(tmp_path) as opened:
        assert opened.journal.size_bytes == sum(sizes)
        assert opened.numbers == [*range(10, 20)]
        opened.add(20, 21, size_bytes=300)  # the last file has room
        assert files(tmp_path) == log(1, 2, 3, 4)
        opened.add(22, 23, size_bytes=300)
    assert files(tmp_path) == log(1, 2, 3, 4, 5)
    assert numbers_in(tmp_path) == [*range(10, 24)]


def test_a_record_larger_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    with small(tmp_path) as opened:
        for number, size_bytes in ((1, 5_000), (2, 0), (3, 5_000), (4, 5_000)):
            opened.add(number, size_bytes=size_bytes)
    assert files(tmp_path) == log(1, 2, 3, 4)
    assert numbers_in(tmp_path) == [1, 2, 3, 4]


def test_files_go_from_the_oldest_on_when_none_of_their_turns_is_alive(tmp_path: Path) -> None:
    with Opened(tmp_path, segment_bytes=SMALL + 200) as opened:  # room for removals
        journal = opened.journal
        opened.add(*range(10, 19), size_bytes=300)
        assert files(tmp_path) == log(1, 2, 3)
        journal.note_removed([13, 14, 15])  # all of the second file
        assert files(tmp_path) == log(1, 2, 3)
        journal.note_removed([10, 11])
        assert files(tmp_path) == log(1, 2, 3)
        journal.note_removed([12])
        assert files(tmp_path) == log(3)
        journal.note_removed([16, 17, 18])  # the one that is written to stays
        assert files(tmp_path) == log(3)
        assert (journal.live_bytes, journal.last_number) == (0, 18)
        opened.add(19, 20, size_bytes=600)
        assert files(tmp_path) == log(3, 4)
        journal.note_removed([])
        assert files(tmp_path) == log(4)
    assert numbers_in(tmp_path) == [19, 20]


def test_a_file_whose_turns_died_while_it_was_the_last_goes_with_the_next(tmp_path: Path) -> None:
    with Opened(tmp_path, segment_bytes=SMALL + 100) as opened:
        opened.add(10, 11, 12, size_bytes=300)
        opened.journal.note_removed([10, 11, 12])
        opened.add(13, size_bytes=300)
    with small(tmp_path):
        assert files(tmp_path) == log(2)
    assert numbers_in(tmp_path) == [13]


def test_an_orphan_is_one_for_as_long_as_its_turn_is_there(tmp_path: Path) -> None:
    with small(tmp_path) as opened:
        journal = opened.journal
        opened.add(1, 2, 3, size_bytes=300)
        journal.note_removed([3], [2, 3, 77])
        assert journal.orphans == {2}
        before = journal.size_bytes
        journal.note_removed([], [2, 77])  # it is written once
        assert journal.size_bytes == before
        for number in range(10, 60):
            opened.add(number, size_bytes=300)
            journal.note_removed([number])
            while journal.tidy(1):
                pass
        assert log(1)[0] not in files(tmp_path)
    for _ in range(2):
        with small(tmp_path) as opened:
            assert (opened.numbers, set(opened.journal.orphans)) == ([1, 2], {2})
    with small(tmp_path) as opened:
        opened.journal.note_removed([2])
        assert opened.journal.orphans == frozenset()
    with small(tmp_path) as opened:
        assert (opened.numbers, opened.journal.orphans) == ([1], frozenset())


def test_a_new_turn_is_no_orphan_for_an_old_one_of_its_number(tmp_path: Path) -> None:
    # The turn's file is gone, and a kill came before its removal was written.
    only = tmp_path / log(2)[0]
    only.write_bytes(frame(SegmentHeader(1, "f" * 64)) + frame(OrphanRecord([3, 9])))
    with small(tmp_path) as opened:
        assert (opened.numbers, opened.journal.orphans) == ([], frozenset())
        assert opened.journal.last_number == 9  # who numbers turns goes on behind it


def test_a_turn_that_lives_long_does_not_keep_the_dead(tmp_path: Path) -> None:
    with small(tmp_path) as opened:
        journal = opened.journal
        opened.add(1, size_bytes=300)
        for number in range(10, 510):
            opened.add(number, size_bytes=300)
            journal.note_removed([number])
            while journal.tidy(1):
                pass
            assert journal.size_bytes < 4 * SMALL
        assert len(files(tmp_path)) <= 4
    assert numbers_in(tmp_path) == [1]


def test_tidying_copies_no_more_than_it_may(tmp_path: Path) -> None:
    with Opened(tmp_path, segment_bytes=20_000) as opened:  # 50 turns
        journal = opened.journal
        opened.add(*range(100, 400), size_bytes=300)
        assert not journal.tidy(1 << 20)  # all alive: nothing to gain
        journal.note_removed([n for n in range(100, 400) if n % 3])
        grown = [journal.size_bytes]
        while journal.tidy(700):
            grown.append(journal.size_bytes)
        assert len(grown) > 10
        assert max(b - a for a, b in pairwise(grown)) < 1_200
        assert journal.size_bytes - journal.live_bytes <= max(journal.live_bytes, 20_000) + 500
        assert journal.last_number == 399
    assert numbers_in(tmp_path) == [n for n in range(100, 400) if n % 3 == 0]


def test_less_than_a_file_of_dead_records_is_left_alone(tmp_path: Path) -> None:
    with Opened(tmp_path, segment_bytes=20_000) as opened:
        opened.add(*range(100, 140), size_bytes=300)
        opened.journal.note_removed(range(100, 139))
        assert opened.journal.size_bytes > 10 * opened.journal.live_bytes
        assert not opened.journal.tidy(1 << 20)
        assert files(tmp_path) == log(1)


def test_a_wasteful_journal_is_compacted_when_it_is_opened(tmp_path: Path) -> None:
    with Opened(tmp_path, segment_bytes=1 << 20) as opened:
        opened.add(*range(100, 150), size_bytes=300)
        opened.journal.note_removed(range(101, 149))
        before = opened.journal.size_bytes
    with small(tmp_path) as opened:
        assert (opened.numbers, opened.warnings) == ([100, 149], [])
        assert opened.journal.size_bytes < before / 5
        assert opened.journal.last_number == 149
    assert log(1)[0] not in files(tmp_path)
    assert numbers_in(tmp_path) == [100, 149]


def test_a_damaged_file_costs_what_is_behind_the_damage_and_is_put_aside(tmp_path: Path) -> None:
    fill(tmp_path, *range(10, 19))
    damaged = tmp_path / log(2)[0]
    data = bytearray(damaged.read_bytes())
    second = HEADER_BYTES + len(frame(turn(13, size_bytes=300)))
    data[second + 40] ^= 1  # in the second of three turns
    damaged.write_bytes(data)
    with small(tmp_path) as opened:
        assert opened.numbers == [10, 11, 12, 13, 16, 17, 18]
        (warning,) = opened.warnings
        assert f"{damaged} is damaged at byte {second}: a record whose checksum" in warning
        opened.add(20, size_bytes=300)
    assert damaged.read_bytes() == data
    with small(tmp_path) as opened:
        assert len(opened.warnings) == 1  # as long as it is there
        opened.journal.note_removed([10, 11, 12, 13])
        assert damaged.with_suffix(".damaged").read_bytes() == data
    with small(tmp_path) as opened:
        assert (opened.numbers, opened.warnings) == ([16, 17, 18, 20], [])


@pytest.mark.parametrize("content", [bytes(500), b"not a journal", b"\xffMJ\xfe" * 99])
def test_a_file_that_is_none_of_ours_is_not_deleted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / log(1)[0]).write_bytes(content)
    (tmp_path / "journal-1.log").write_bytes(content)
    with Opened(tmp_path) as opened:
        assert (opened.found, len(opened.warnings)) == ([], 1)
        opened.add(1)
    assert files(tmp_path) == ["journal-00000001.damaged", *log(2), "journal-1.log"]
    assert (tmp_path / "journal-00000001.damaged").read_bytes() == content
    assert numbers_in(tmp_path) == [1]


def test_a_turn_that_rots_while_the_router_runs_is_not_copied(tmp_path: Path) -> None:
    with small(tmp_path) as opened:
        opened.add(*range(10, 30), size_bytes=300)
        first = tmp_path / log(1)[0]
        data = bytearray(first.read_bytes())
        data[-1] ^= 1  # in turn 12
        first.write_bytes(data)
        opened.journal.note_removed(range(13, 30))
        while opened.journal.tidy(1 << 20):
            pass
        (warning,) = opened.warnings
        assert "turn 12" in warning
    assert numbers_in(tmp_path) == [10, 11]


def test_a_turn_that_cannot_be_read_is_said_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, 10, 11, 12)
    pread, reads = os.pread, iter(range(9))

    def fails_once(fd: int, size: int, offset: int) -> bytes:
        if next(reads) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", fails_once)
    with small(tmp_path) as opened:
        assert opened.numbers == [10, 12]
        assert ["turn 11" in warning for warning in opened.warnings] == [True]
