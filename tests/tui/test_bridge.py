"""The two loops: what is called reaches trio, what fails reaches its caller, nothing hangs."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel

from miles_router.tui.bridge import TrioThread
from miles_router.tui.stopped import RouterStopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from miles_router.tui.bridge import Requests

LIMIT_S = 10.0


async def until_stopped(requests: Requests[str]) -> None:
    requests.ready("here")
    await anext(requests.stops)


@contextmanager
def running(
    work: Callable[[Requests[str]], Awaitable[None]] = until_stopped,
) -> Iterator[TrioThread[str]]:
    """A thread that has started; ended hard afterwards, whatever happens."""
    thread = TrioThread(work)
    thread.start()
    try:
        yield thread
    finally:
        thread.cancel()
        thread._thread.join(LIMIT_S)
        assert not thread._thread.is_alive()


def on_asyncio(function: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(function(), LIMIT_S)

    return asyncio.run(limited())


async def add(a: int, b: int) -> int:
    await trio.lowlevel.checkpoint()
    return a + b


def test_the_work_runs_in_a_thread_that_keeps_the_process_alive() -> None:
    seen: list[threading.Thread] = []

    async def work(requests: Requests[str]) -> None:
        seen.append(threading.current_thread())
        await until_stopped(requests)

    with running(work) as thread:
        assert thread.start() == "here"
        assert thread.is_running
        thread.stop("q")
        thread.join()
    assert seen[0] is not threading.main_thread()
    assert not seen[0].daemon
    assert not thread.is_running


def test_stops_arrive_in_order_with_their_reasons() -> None:
    seen: list[str] = []

    async def work(requests: Requests[str]) -> None:
        requests.ready("")
        async for why in requests.stops:
            seen.append(why)
            if len(seen) == 3:
                return

    with running(work) as thread:
        for why in ("SIGTERM", "SIGINT", "q"):
            thread.stop(why)
        thread.join()
    assert seen == ["SIGTERM", "SIGINT", "q"]


def test_what_is_wanted_before_the_start_is_not_lost() -> None:
    thread = TrioThread(until_stopped)
    thread.stop("early")
    thread.start()
    thread.join()


def test_a_thread_that_is_cancelled_before_its_start_never_gets_ready() -> None:
    async def work(requests: Requests[str]) -> None:
        await trio.sleep_forever()

    thread = TrioThread(work)
    thread.cancel()
    with pytest.raises(RouterStopped):
        thread.start()
    thread.join()


def test_what_keeps_the_work_from_starting_is_raised_by_start() -> None:
    async def work(requests: Requests[str]) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError("the port is taken")

    thread = TrioThread(work)
    with pytest.raises(OSError, match="taken"):
        thread.start()
    with pytest.raises(OSError, match="taken"):
        thread.join()


def test_what_ends_the_work_is_raised_by_every_join() -> None:
    async def work(requests: Requests[str]) -> None:
        requests.ready("")
        await anext(requests.stops)
        raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])

    thread = TrioThread(work)
    thread.start()
    ended: list[str] = []
    thread.when_ended(lambda: ended.append(threading.current_thread().name))
    thread.stop("now")
    for _ in range(2):
        with pytest.raises(ExceptionGroup, match="both"):
            thread.join()
    thread.when_ended(lambda: ended.append("at once"))
    assert ended == ["router", "at once"]


def test_calls_answer_side_by_side() -> None:
    async def work() -> list[int]:
        return await asyncio.gather(*(thread.call(add, n, n) for n in range(50)))

    with running() as thread:
        assert on_asyncio(work) == [2 * n for n in range(50)]


def test_an_error_of_a_call_reaches_its_caller_and_nobody_else() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    async def fail_in_a_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    async def work() -> int:
        with pytest.raises(ValueError, match="mine"):
            await thread.call(fail)
        with pytest.raises(ExceptionGroup):
            await thread.call(fail_in_a_nursery)
        return await thread.call(add, 1, 2)

    with running() as thread:
        assert on_asyncio(work) == 3


def test_cancelling_the_caller_cancels_the_function() -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def hang() -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async def work() -> None:
        task = asyncio.create_task(thread.call(hang))
        while not begun.is_set():  # noqa: ASYNC110  it happens in the other thread
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with running() as thread:
        on_asyncio(work)
        assert cancelled.wait(LIMIT_S)
        assert thread.is_running


@pytest.mark.parametrize("end", ["stop", "cancel"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_call_that_outlasts_the_work_ends_with_it(end: str, nested: bool) -> None:
    async def hang() -> None:
        if not nested:
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    async def work() -> None:
        tasks = [asyncio.create_task(thread.call(hang)) for _ in range(3)]
        await asyncio.sleep(0.02)
        if end == "stop":
            thread.stop("q")
        else:
            thread.cancel()
        for task in tasks:
            with pytest.raises(RouterStopped):
                await task

    with running() as thread:
        on_asyncio(work)
        thread.join()


def test_a_call_after_the_end_is_refused() -> None:
    async def work() -> None:
        with pytest.raises(RouterStopped):
            await thread.call(add, 1, 2)

    with running() as thread:
        thread.stop("q")
        thread.join()
        on_asyncio(work)
        assert not thread.tell(print)
        thread.stop("again")
        thread.cancel()


def test_an_answer_whose_loop_is_gone_is_dropped() -> None:
    async def slow() -> int:
        await trio.sleep(0.05)
        return 1

    async def work() -> None:
        task = asyncio.create_task(thread.call(slow))
        await asyncio.sleep(0.01)
        task.cancel()

    with running() as thread:
        on_asyncio(work)
        time.sleep(0.1)
        assert thread.is_running


def test_the_screens_thread_may_be_stuck_while_the_work_goes_on() -> None:
    ticks: list[float] = []

    async def work(requests: Requests[str]) -> None:
        requests.ready("")
        while len(ticks) < 20:
            ticks.append(trio.current_time())
            await trio.sleep(0.005)

    with running(work) as thread:
        time.sleep(0.3)  # nothing of asyncio runs
        thread.join()
    assert len(ticks) == 20
