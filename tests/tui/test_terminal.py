"""Reading and drawing on a terminal that others use as well, and that may be full."""

from __future__ import annotations

import os
import select
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from miles_router.tui.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def on_a_pair() -> Iterator[tuple[Terminal, int, int]]:
    """A terminal, its other side, and what another program has of it."""
    master, slave = os.openpty()
    try:
        tty.setraw(slave)
        terminal = Terminal(slave, slave)
        try:
            yield terminal, master, slave
        finally:
            terminal.close()
    finally:
        os.close(master)
        os.close(slave)


def drawn(master: int) -> bytes:
    ready, _, _ = select.select([master], [], [], 0)
    return os.read(master, 65_536) if ready else b""


def test_what_another_has_read_is_not_waited_for() -> None:
    with on_a_pair() as (terminal, master, slave):
        os.write(master, b"k")
        assert select.select([terminal.input], [], [], 1)[0]
        assert os.read(slave, 1) == b"k"
        with pytest.raises(BlockingIOError):
            os.read(terminal.input, 1)
        assert os.get_blocking(slave), "others wait for their keys as before"


def test_nothing_is_drawn_on_a_terminal_that_was_left_until_it_is_entered_again() -> None:
    with on_a_pair() as (terminal, master, _):
        terminal.draw("before")
        assert drawn(master) == b"before"
        terminal.leave()
        assert drawn(master).endswith(b"\x1b[0m")
        terminal.draw("a frame that was under way")
        assert drawn(master) == b""
        terminal.say("a sentence\n")
        assert drawn(master) == b"a sentence\n"
        terminal.enter()
        terminal.draw("after")
        assert drawn(master) == b"after"


def test_a_part_of_a_screen_that_waits_is_dropped_as_the_terminal_is_restored() -> None:
    with on_a_pair() as (terminal, master, _):
        terminal.is_silent = True
        terminal.draw("x" * 1_000_000)  # or it would wait for good
        assert drawn(master) == b""
