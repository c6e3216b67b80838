"""Parts that are loaded when they are first needed: once, and beside the loop."""

from __future__ import annotations

import threading
from threading import current_thread

import pytest
import trio
import trio.testing

from miles_router.net.late import Late


class Part:
    """A part whose loading takes as long as the test wants."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.fails = False
        self.begun = trio.Event()
        self.may_go_on = threading.Event()
        self._token = trio.lowlevel.current_trio_token()

    def make(self) -> str:
        self.threads.append(current_thread())
        self._token.run_sync_soon(self.begun.set)
        assert self.may_go_on.wait(20)
        if self.fails:
            raise ImportError("it is not installed")
        return "made"


async def test_ten_that_ask_at_once_get_one_part_and_the_loop_goes_on_meanwhile() -> None:
    part = Part()
    late = Late(part.make)
    got: list[str] = []

    async def ask() -> None:
        got.append(await late.get())

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
            await part.begun.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert (got, late.is_loaded.is_set()) == ([], False)
            part.may_go_on.set()
    assert got == ["made"] * 10
    assert late.part == await late.get() == "made"
    assert late.is_loaded.is_set()
    assert len(part.threads) == 1
    assert part.threads[0] is not current_thread()


async def test_it_may_be_loaded_here_and_now() -> None:
    part = Part()
    part.may_go_on.set()
    late = Late(part.make)
    late.load()
    late.load()
    assert late.is_loaded.is_set()
    assert await late.get() == "made"
    assert part.threads == [current_thread()]


async def test_who_leaves_while_it_is_loaded_loses_nothing() -> None:
    part = Part()
    late = Late(part.make)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(late.get)
            await part.begun.wait()
            nursery.cancel_scope.cancel()
            part.may_go_on.set()
    assert late.part == "made"


async def test_what_keeps_it_from_being_loaded_is_told_to_each_who_asks() -> None:
    part = Part()
    part.may_go_on.set()
    part.fails = True
    late = Late(part.make)
    with pytest.raises(ImportError, match="not installed"):
        await late.get()
    with pytest.raises(ImportError, match="not installed"):
        late.load()
    assert not late.is_loaded.is_set()
    part.fails = False
    assert await late.get() == "made"
