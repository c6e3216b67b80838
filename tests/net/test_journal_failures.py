"""What becomes of a journal whose router is killed, and of one whose disk is full."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from miles_router.core.trajectory.record import OrphanRecord, RemovalRecord, frame
from miles_router.errors import ConfigFault
from miles_router.net.journal import JournalFailed
from tests.net.test_journal import FIRST, Opened, files, numbers_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Switches a disk full, which takes half of a write, and empty again."""
    write, is_full = os.write, False

    def write_half(fd: int, data: bytes) -> int:
        if not is_full:
            return write(fd, data[:50])  # a short write is no failure
        if len(data) > 20:
            return write(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def switch(now_full: bool) -> None:
        nonlocal is_full
        is_full = now_full

    monkeypatch.setattr(os, "write", write_half)
    yield switch
    monkeypatch.undo()


def test_a_full_disk_turns_the_journal_off_and_leaves_it_whole(
    tmp_path: Path, full_disk: Callable[[bool], None]
) -> None:
    with Opened(tmp_path) as opened:
        journal = opened.journal
        opened.add(1, 2, 3)
        size_bytes = journal.size_bytes
        full_disk(True)
        with pytest.raises(JournalFailed, match=r"off until a restart.*No space left"):
            opened.add(4)
        assert (journal.is_on, journal.failures) == (False, 1)
        assert (tmp_path / FIRST).stat().st_size == journal.size_bytes == size_bytes
        opened.add(5)  # says and does nothing
        full_disk(False)
        opened.add(6)
        assert (tmp_path / FIRST).stat().st_size == size_bytes
        assert not journal.tidy(1 << 20)
    assert numbers_in(tmp_path) == [1, 2, 3]


def test_a_file_that_a_full_disk_refused_is_not_left_behind(
    tmp_path: Path, full_disk: Callable[[bool], None]
) -> None:
    with Opened(tmp_path, segment_bytes=300) as opened:
        opened.add(1, size_bytes=300)
        full_disk(True)
        with pytest.raises(JournalFailed):
            opened.add(2, size_bytes=300)
        assert files(tmp_path) == [FIRST]
        full_disk(False)
        opened.journal.note_removed([1])  # and what there was can be written to
    with Opened(tmp_path) as opened:
        assert (opened.numbers, opened.warnings, opened.journal.last_number) == ([], [], 1)


@pytest.mark.parametrize("when", ["next removal", "close", "never"])
def test_a_removal_that_a_full_disk_refused_is_written_when_it_can_be(
    tmp_path: Path, full_disk: Callable[[bool], None], when: str
) -> None:
    with Opened(tmp_path) as opened:
        opened.add(1, 2, 3, 4)
        full_disk(True)
        with pytest.raises(JournalFailed):
            opened.journal.note_removed([1])
        opened.journal.note_removed([2])  # said already
        assert (opened.journal.is_on, opened.journal.failures) == (False, 2)
        full_disk(when == "never")
        if when == "next removal":
            opened.journal.note_removed([3])
            assert frame(RemovalRecord([1, 2, 3])) in (tmp_path / FIRST).read_bytes()
    full_disk(False)
    assert numbers_in(tmp_path) == {"next removal": [4], "close": [3, 4]}.get(when, [1, 2, 3, 4])


@pytest.mark.parametrize("when", ["next removal", "close", "never"])
def test_an_orphan_that_a_full_disk_refused_is_written_when_it_can_be(
    tmp_path: Path, full_disk: Callable[[bool], None], when: str
) -> None:
    with Opened(tmp_path) as opened:
        opened.add(1, 2, 3)
        full_disk(True)
        with pytest.raises(JournalFailed):
            opened.journal.note_removed([], [1])
        assert (opened.journal.is_on, opened.journal.failures) == (False, 1)
        full_disk(when == "never")
        if when == "next removal":
            opened.journal.note_removed([2])
            written = frame(OrphanRecord([1])) + frame(RemovalRecord([2]))
            assert written in (tmp_path / FIRST).read_bytes()
    full_disk(False)
    with Opened(tmp_path) as opened:
        assert opened.journal.orphans == (set() if when == "never" else {1})


def test_the_room_of_dead_files_is_used_for_what_is_told(
    tmp_path: Path, full_disk: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def makes_room(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        full_disk(False)

    with Opened(tmp_path, segment_bytes=700) as opened:
        opened.add(1, 2, size_bytes=300)
        full_disk(True)
        monkeypatch.setattr(Path, "unlink", makes_room)
        opened.journal.note_removed([1], [2])
        assert files(tmp_path) == ["journal-00000002.log"]
        assert opened.journal.is_on
    with Opened(tmp_path) as opened:
        assert (opened.numbers, set(opened.journal.orphans)) == ([2], {2})


def test_a_tail_that_cannot_be_cut_off_is_written_to_no_more(
    tmp_path: Path, full_disk: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int, _size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Opened(tmp_path) as opened:
        opened.add(1, 2)
        full_disk(True)
        monkeypatch.setattr(os, "ftruncate", refuse)
        with pytest.raises(JournalFailed):
            opened.add(3)
        full_disk(False)
        opened.journal.note_removed([1])
    monkeypatch.undo()
    with Opened(tmp_path) as opened:
        assert (opened.numbers, len(opened.warnings)) == ([1, 2], 1)


WRITER = """
import resource, sys
from pathlib import Path
from tests.net.test_journal import Opened
limit = int(sys.argv[2])
with Opened(Path(sys.argv[1]), segment_bytes=40_000) as opened:
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for number in range(1, 100_000):
        opened.add(number, size_bytes=300)
        if number % 3 == 0:
            opened.journal.note_removed([number - 1])
            if number % 30:
                opened.journal.note_removed([number])
        opened.journal.tidy(2_000)
        print(number, flush=True)
"""


def start_writer(directory: Path, *, limit_bytes: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(directory), str(limit_bytes)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def assert_left_by_writer(numbers: list[int], last: int) -> None:
    """What WRITER lets live, when `last` was its last acknowledged step."""
    # The step after it may have been done or not: a turn appended, and the last one removed.
    sure = {n for n in range(1, last + 1) if n % 3 == 1 or n % 30 == 0}
    assert sure - set(numbers) == set()
    unsure = {last, last + 1} if last % 3 == 2 else {last + 1}
    assert set(numbers) - sure <= unsure
    assert numbers == sorted(numbers)


@pytest.mark.loopback
@pytest.mark.parametrize("acknowledged", [1, 700, 4_001])
def test_sigkill_takes_no_turn_that_was_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    with start_writer(tmp_path) as writer:
        assert writer.stdout is not None
        for _ in range(acknowledged):
            writer.stdout.readline()
        with pytest.raises(ConfigFault, match=f"process {writer.pid}"):
            Opened(tmp_path).journal.open()
        writer.send_signal(signal.SIGKILL)
        last = acknowledged
        for line in writer.stdout:
            with suppress(ValueError):  # the last line may be torn
                last = max(last, int(line))
    with Opened(tmp_path, segment_bytes=40_000) as opened:
        numbers = opened.numbers
    assert_left_by_writer(numbers, last)


@pytest.mark.loopback
def test_a_limit_of_the_kernel_is_a_full_disk(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, limit_bytes=30_000)
    out, err = writer.communicate(timeout=60)
    assert "JournalFailed" in err
    assert "File too large" in err
    last = len(out.splitlines())
    assert last > 30
    assert_left_by_writer(numbers_in(tmp_path), last)
