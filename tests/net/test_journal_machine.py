"""A router may be killed at any change of the disk: no turn is lost, and none comes back.

Nor does a trajectory: that a turn is an orphan is known for as long as the turn is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from miles_router.core.trajectory.record import frame
from tests.net.test_journal import Opened, files, numbers_in, turn
from tests.net.test_segments import SMALL, small

if TYPE_CHECKING:
    from collections.abc import Iterator

    from miles_router.net.journal import Journal


class Killed(BaseException):
    """Stands for SIGKILL: no code of the journal may answer to it."""


@contextmanager
def killed_at(step: int) -> Iterator[list[str]]:
    """Dies at the step-th change of the disk: before it, or in the middle of a write."""
    done: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write", "open", "unlink", "rename", "truncate", "ftruncate"):
            real: Any = getattr(os, name)

            def call(*args: Any, _real: Any = real, _name: str = name, **more: Any) -> Any:
                if len(done) == step:
                    if _name == "write":
                        _real(args[0], args[1][: len(args[1]) // 2])
                    raise Killed
                done.append(_name)
                return _real(*args, **more)

            patch.setattr(os, name, call)
        yield done


@contextmanager
def killed_behind(size_bytes: int) -> Iterator[list[int]]:
    """Dies when so many bytes are written, or goes on where fewer are; gets an entry a write."""
    done: list[int] = []
    write = os.write

    def call(fd: int, data: bytes) -> int:
        left = size_bytes - sum(done)
        if len(data) > left:
            write(fd, data[:left])
            raise Killed
        done.append(len(data))
        return write(fd, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", call)
        yield done


def drop(journal: Journal) -> None:
    """What the kernel does for a process that was killed: files are closed, nothing is written."""
    journal._unwritten.clear()
    journal._unwritten_orphans.clear()
    journal.close()


def test_compaction_may_be_killed_at_any_step(tmp_path: Path) -> None:
    alive, orphans, steps = [100, 107, 122, 149], {100, 122}, 0
    for step in range(200):
        directory = tmp_path / str(step)
        with Opened(directory, segment_bytes=2_000) as opened:
            opened.add(*range(100, 150), size_bytes=300)
            dead = [n for n in range(100, 150) if n not in alive]
            opened.journal.note_removed(dead, [*orphans, 140])
        torn = directory / files(directory)[-1]
        torn.write_bytes(torn.read_bytes() + b"\xffMJ\xfe\1")
        killed = small(directory)
        try:
            with killed_at(step) as done:
                killed.journal.open()
        except Killed:
            drop(killed.journal)
        else:
            drop(killed.journal)
            steps = len(done)
            break
        with small(directory) as opened:
            assert (opened.numbers, set(opened.journal.orphans)) == (alive, orphans)
            assert opened.journal.size_bytes < 3 * SMALL
        assert numbers_in(directory) == alive
    assert steps > 20
    assert set(done) == {"write", "open", "unlink", "truncate", "ftruncate"}


def test_an_orphan_may_be_carried_and_the_router_killed_at_any_byte(tmp_path: Path) -> None:
    with Opened(tmp_path / "made") as opened:
        opened.add(1, 2, 3, 4)
        opened.journal.note_removed([4], [2, 3])
    size_bytes = 0
    for step in range(2_000):
        directory = tmp_path / str(step)
        shutil.copytree(tmp_path / "made", directory)
        opened = Opened(directory)
        opened.journal.open()
        is_killed = True
        with suppress(Killed), killed_behind(step) as done:
            opened.journal._segments.carry(1 << 20)
            is_killed, size_bytes = False, sum(done)
        drop(opened.journal)
        for _ in range(2):
            with Opened(directory) as again:
                assert (again.numbers, set(again.journal.orphans)) == ([1, 2, 3], {2, 3})
        shutil.rmtree(directory)
        if not is_killed:
            break
    assert size_bytes == step > 400


class JournalMachine(RuleBasedStateMachine):
    """A journal against two sets of numbers, with kills at any change of the disk."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.alive: set[int] = set()
        self.maybe: set[int] = set()  # a kill or a failure came between: there or not
        self.orphans: set[int] = set()
        self.maybe_orphans: set[int] = set()
        self.next = 1
        self.opened: Opened | None = None
        self.reopen(segment_bytes=400)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.reopen(segment_bytes=400)
            drop(self.journal)
            self.folder.cleanup()

    @property
    def journal(self) -> Journal:
        assert self.opened is not None
        return self.opened.journal

    @rule(segment_bytes=st.sampled_from([100, 400, 1_500]))
    def reopen(self, segment_bytes: int) -> None:
        if self.opened is not None:
            drop(self.journal)
        self.opened = Opened(self.directory, segment_bytes=segment_bytes)
        self.opened.found = list(self.journal.open())
        found = set(self.opened.numbers)
        assert self.alive - self.maybe <= found <= self.alive | self.maybe
        assert self.opened.numbers == sorted(found)
        orphans = set(self.journal.orphans)
        assert self.orphans & found <= orphans <= (self.orphans | self.maybe_orphans) & found
        if self.maybe - found:  # what was told together holds together: orphans first
            assert self.maybe_orphans & found <= orphans
        self.alive, self.maybe = found, set()
        self.orphans, self.maybe_orphans = orphans, set()
        assert self.journal.last_number < self.next

    @rule(size_bytes=st.sampled_from([0, 100, 700]))
    def append(self, size_bytes: int) -> None:
        self.journal.append(frame(turn(self.next, size_bytes=size_bytes)), self.next)
        self.alive.add(self.next)
        self.next += 1

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        some = st.sets(st.sampled_from(sorted(self.alive)))
        gone, orphaned = data.draw(some), data.draw(some)
        self.journal.note_removed(gone, orphaned)
        self.alive -= gone
        self.orphans = (self.orphans | orphaned) & self.alive
        assert self.journal.orphans == self.orphans

    @rule(budget_bytes=st.sampled_from([1, 300, 5_000]))
    def tidy(self, budget_bytes: int) -> None:
        self.journal.tidy(budget_bytes)

    @rule(step=st.integers(0, 8), what=st.sampled_from(["append", "remove", "tidy", "open"]))
    def kill(self, step: int, what: str) -> None:
        victim = self.journal
        with suppress(Killed), killed_at(step):
            self._act(victim, what)
        drop(victim)
        self.opened = None
        self.reopen(segment_bytes=400)

    def _act(self, journal: Journal, what: str) -> None:
        if what == "append":
            self.maybe = {self.next}
            self.next += 1
            journal.append(frame(turn(self.next - 1)), self.next - 1)
            self.alive |= self.maybe
        elif what == "remove":
            self.maybe = set(sorted(self.alive)[::2])
            self.maybe_orphans = set(sorted(self.alive)[1::3])
            journal.note_removed(self.maybe, self.maybe_orphans)
            self.alive -= self.maybe
            self.orphans = (self.orphans | self.maybe_orphans) & self.alive
        elif what == "tidy":
            journal.tidy(2_000)
        else:
            drop(journal)
            again = Opened(self.directory, segment_bytes=100)
            try:
                list(again.journal.open())
            finally:
                drop(again.journal)
        self.maybe, self.maybe_orphans = set(), set()  # it came to its end: what it said holds


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(stateful_step_count=25)  # each step makes files
