"""Work in the quick thread: results, errors, order, cancellation, and the end of it."""

from __future__ import annotations

import threading
from functools import partial
from typing import NoReturn

import pytest
import trio
import trio.testing

from miles_router.net.quick_thread import QuickThread


def _where() -> int:
    return threading.get_ident()


def _fail() -> NoReturn:
    raise ValueError("no good")


async def test_work_is_done_in_one_thread_beside_the_loop(nursery: trio.Nursery) -> None:
    quick = QuickThread()
    await nursery.start(quick.run)
    places = {await quick.call(_where) for _ in range(5)}
    assert len(places) == 1
    assert places != {_where()}
    nursery.cancel_scope.cancel()


async def test_what_work_raises_reaches_its_caller_and_the_thread_goes_on(
    nursery: trio.Nursery,
) -> None:
    quick = QuickThread()
    await nursery.start(quick.run)
    with pytest.raises(ValueError, match="no good"):
        await quick.call(_fail)
    assert await quick.call(lambda: 7) == 7
    nursery.cancel_scope.cancel()


async def test_before_and_after_its_life_another_thread_does_the_work() -> None:
    quick = QuickThread()
    assert await quick.call(_where) != _where()
    async with trio.open_nursery() as nursery:
        await nursery.start(quick.run)
        nursery.cancel_scope.cancel()
    assert await quick.call(_where) != _where()


async def test_work_of_many_tasks_comes_back_to_each() -> None:
    quick = QuickThread()
    found: dict[int, int] = {}

    async def ask(number: int) -> None:
        found[number] = await quick.call(partial(pow, number, 2))

    async with trio.open_nursery() as life:
        await life.start(quick.run)
        async with trio.open_nursery() as tasks:
            for number in range(50):
                tasks.start_soon(ask, number)
        life.cancel_scope.cancel()
    assert found == {number: number**2 for number in range(50)}


async def test_a_cancelled_caller_waits_for_work_that_has_begun(nursery: trio.Nursery) -> None:
    quick = QuickThread()
    await nursery.start(quick.run)
    begun, may_end = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        begun.set()
        assert may_end.wait(5)
        done.append("whole")

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as tasks:
            tasks.start_soon(quick.call, work)
            await trio.to_thread.run_sync(begun.wait)
            scope.cancel()
            may_end.set()
    assert done == ["whole"]
    nursery.cancel_scope.cancel()


async def test_a_caller_that_is_cancelled_before_gives_no_work(nursery: trio.Nursery) -> None:
    quick = QuickThread()
    await nursery.start(quick.run)
    done: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await quick.call(partial(done.append, 1))
    assert scope.cancelled_caught
    assert await quick.call(lambda: len(done)) == 0
    nursery.cancel_scope.cancel()


async def test_work_that_was_given_before_the_end_is_done() -> None:
    quick = QuickThread()
    begun, may_end = threading.Event(), threading.Event()
    done: list[int] = []

    def first() -> None:
        begun.set()
        assert may_end.wait(5)

    async with trio.open_nursery() as tasks, trio.open_nursery() as life:
        await life.start(quick.run)
        tasks.start_soon(quick.call, first)
        await trio.to_thread.run_sync(begun.wait)
        tasks.start_soon(quick.call, partial(done.append, 1))
        await trio.testing.wait_all_tasks_blocked()
        life.cancel_scope.cancel()
        may_end.set()
    assert done == [1]
