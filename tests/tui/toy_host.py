"""A small program with a screen and a thread that counts, hosted as the real one is.

Run as `python -m tests.tui.toy_host LOG ON_CRASH`; keys and signals drive it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import trio
from textual.app import App, ComposeResult
from textual.widgets import Static

from miles_router.tui.bridge import Requests, TrioThread
from miles_router.tui.descriptors import Descriptors, open_log
from miles_router.tui.host import Place, run_attached, run_local
from miles_router.tui.terminal import open_terminal

if TYPE_CHECKING:
    from miles_router.tui.host import OnCrash
    from miles_router.tui.terminal import Terminal

SECRET = "a prompt that nobody may see"


class Counter:
    """What stands in for the router."""

    def __init__(self, path: Path, grace_s: float) -> None:
        self.count = 0
        self.path = path
        self.grace_s = grace_s

    async def work(self, requests: Requests[Counter]) -> None:
        if os.environ.get("TOY_FAILS"):
            raise OSError("the port is taken")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.tick)
            requests.ready(self)
            why = await anext(requests.stops)
            self.write(f"stopping: {why}")
            if why == "crash":
                raise ValueError("the counter failed")
            with trio.move_on_after(self.grace_s):
                self.write(f"hurried: {await anext(requests.stops)}")
            nursery.cancel_scope.cancel()
        self.write("stopped")

    async def tick(self) -> None:
        while True:
            self.count += 1
            self.path.write_text(str(self.count), encoding="ascii")
            await trio.sleep(0.02)

    def outlook(self) -> str:
        return f"waiting at {self.count}"

    def shown(self) -> None:
        self.path.with_suffix(".shown").touch()

    def unwatched(self) -> None:
        self.write("unwatched")

    def write(self, text: str) -> None:
        with self.path.with_suffix(".said").open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")


class Toy(App[int]):
    """Shows the count; a key does what its name says."""

    BINDINGS: ClassVar[Any] = [
        ("q", "quit_all", "quit"),
        ("x", "crash", "crash"),
        ("r", "crash_counter", "crash the counter"),
        ("b", "both", "both crash"),
        ("p", "print_everywhere", "print"),
    ]

    def __init__(self, thread: TrioThread[Counter] | None, counter: Counter) -> None:
        super().__init__()
        self.thread = thread
        self.counter = counter
        self.shown = 0

    def compose(self) -> ComposeResult:
        yield Static("the toy", id="count")

    def on_mount(self) -> None:
        self.set_interval(0.05, self.show)

    def show(self) -> None:
        self.shown += 1
        text = f"count {self.counter.count} shown {self.shown} threads {threading.active_count()}"
        columns, lines = self.size
        filler = "\n".join(f"{text} {line} " + "x" * 60 for line in range(lines - 3))
        self.query_one("#count", Static).update(f"{text} size {columns}x{lines}\n{filler}")

    def action_quit_all(self) -> None:
        self.exit(0)

    def action_crash(self) -> None:
        kept = SECRET
        raise ZeroDivisionError(f"the screen failed, {len(kept)}")

    def action_crash_counter(self) -> None:
        assert self.thread is not None
        self.thread.stop("crash")

    def action_both(self) -> None:
        self.action_crash_counter()
        self.action_crash()

    def action_print_everywhere(self) -> None:
        print("WROTE print")  # noqa: T201
        print("WROTE stderr", file=sys.stderr)  # noqa: T201
        warnings.warn("WROTE warning", stacklevel=1)
        logging.getLogger("toy").warning("WROTE logging")
        os.write(1, b"WROTE fd 1\n")
        os.write(2, b"WROTE fd 2\n")
        libc = ctypes.CDLL(None)
        libc.write(2, b"WROTE C\n", 8)
        os.system("echo WROTE child; echo WROTE child error >&2")  # noqa: S605

        def fail() -> None:
            raise LookupError("WROTE thread")

        threading.Thread(target=fail).start()


def read_late(terminal: Terminal) -> None:
    """What is typed is read some time after it was told of, as by a thread that waits for its turn:
    once the terminal is this process's, and a shell has read what was meant for it."""
    read = os.read

    def late(descriptor: int, size: int) -> bytes:
        if descriptor == terminal.input:
            while not terminal.is_foreground:
                time.sleep(0.01)
            time.sleep(0.1)
        return read(descriptor, size)

    os.read = late


def main() -> int:
    path, on_crash = Path(sys.argv[1]), sys.argv[2]
    terminal = open_terminal()
    if os.environ.get("TOY_READS_LATE"):
        read_late(terminal)
    place = Place(terminal, Descriptors(open_log(path)), path)
    path.with_suffix(".pid").write_text(str(os.getpid()), encoding="ascii")
    counter = Counter(path.with_suffix(".count"), float(os.environ.get("TOY_GRACE_S", "0.1")))
    if on_crash == "attached":

        def make_toy() -> Toy:
            if early := os.environ.get("TOY_SIGNALLED"):
                signal.raise_signal(signal.Signals[early])
            return Toy(None, counter)

        return run_attached(make_toy, place)
    thread: TrioThread[Counter] = TrioThread(counter.work)
    how: OnCrash = "serve" if on_crash == "serve" else "exit"
    return run_local(
        thread,
        lambda started: Toy(thread, started),
        place,
        on_crash=how,
    )


if __name__ == "__main__":
    sys.exit(main())
