"""A trio run in a thread of its own, steered from an asyncio loop and from signal handlers.

Decides how the two loops meet: what is asked goes over trio's token, what comes back over the
asyncio loop's own threadsafe call; neither loop ever waits for the other. It must not know what
runs in the thread.

Invariants: every call that was begun ends, at the latest when the thread's work ends; an error of a
call reaches its caller and nobody else.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  the screens' loop is at the other end
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from miles_router.tui.stopped import RouterStopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Started = TypeVar("Started")
Result = TypeVar("Result")


class Requests(Generic[Started]):
    """What the work in the thread is told, and how it says that it has started.

    `stops` yields one word for each time that somebody wants it to stop, such as a signal's name.
    """

    def __init__(self, started: Future[Started]) -> None:
        self._started = started
        self._send, self.stops = trio.open_memory_channel[str](64)

    def ready(self, value: Started) -> None:
        """Say that the work has started; `TrioThread.start` returns `value`."""
        self._started.set_result(value)

    def stop(self, why: str) -> None:
        """Ask the work to stop; from its own thread."""
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            self._send.send_nowait(why)


class TrioThread(Generic[Started]):
    """Runs `work` under trio in one thread, which is not a daemon: nothing is lost by leaving it.

    Args:
        work: gets `Requests`, calls its `ready` once, and returns some time after a stop.
        name: of the thread.
    """

    def __init__(
        self, work: Callable[[Requests[Started]], Awaitable[None]], *, name: str = "router"
    ) -> None:
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name)
        self._started: Future[Started] = Future()
        self._ended: Future[None] = Future()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._calls: trio.Nursery | None = None
        self._requests: Requests[Started] | None = None
        self._wanted: deque[str | None] = deque()  # stops; None: to be cancelled

    def begin(self) -> None:
        """Start the thread, and do not wait for anything."""
        self._thread.start()

    def start(self) -> Started:
        """Start the thread if that is not done, and wait until its work has started.

        Raises:
            BaseException: what the work raised before it had started.
            RouterStopped: it ended before it had started, without an error.
        """
        if self._thread.ident is None:
            self.begin()
        return self._started.result()

    @property
    def is_running(self) -> bool:
        """Whether the work goes on."""
        return self._thread.ident is not None and not self._ended.done()

    def when_ended(self, call: Callable[[], None]) -> None:
        """Call `call` when the work has ended: in the thread, or at once where it has."""
        self._ended.add_done_callback(lambda _: call())

    def stop(self, why: str) -> None:
        """Ask the work to stop; from any thread, and from a signal handler."""
        self._wanted.append(why)
        self._soon(self._obey)

    def cancel(self) -> None:
        """Cancel the work; from any thread, and from a signal handler."""
        self._wanted.append(None)
        self._soon(self._obey)

    def join(self) -> None:
        """Wait for the end. Signal handlers of the waiting thread run meanwhile.

        Raises:
            BaseException: what the work raised, also where `start` has raised it.
        """
        self._thread.join()
        self._ended.result()

    def tell(self, function: Callable[..., object], *args: Any) -> bool:
        """Have `function` called in the thread, soon; False where nothing runs any more.

        It must not raise: there is nobody who would hear of it.
        """
        return self._soon(function, *args)

    async def call(self, function: Callable[..., Awaitable[Result]], *args: Any) -> Result:
        """From asyncio: the result of an async function that runs under trio.

        Cancelling the caller cancels the function.

        Raises:
            BaseException: what the function raised.
            RouterStopped: the work has ended or ends.
        """
        call = _Call(asyncio.get_running_loop(), function, args)
        if not self._soon(self._begin, call):
            raise RouterStopped
        try:
            return await call.answer
        except asyncio.CancelledError:
            self._soon(call.scope.cancel)
            raise

    def _soon(self, function: Callable[..., object], *args: Any) -> bool:
        """Whether trio took it; what it took is called before the run ends."""
        if self._token is None:
            return False
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            return False
        return True

    def _obey(self) -> None:
        """Under trio. What was wanted before the run began is obeyed as it begins."""
        while self._wanted and self._requests is not None:
            why = self._wanted.popleft()
            if why is None:
                self._scope.cancel()
            else:
                self._requests.stop(why)

    def _begin(self, call: _Call[Any]) -> None:
        if self._calls is None:
            call.fail(RouterStopped())
        else:
            self._calls.start_soon(call.run)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001  it is raised again where somebody joins
            self._end(error)
        else:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        if not self._started.done():
            self._started.set_exception(RouterStopped() if error is None else error)
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    async def _main(self) -> None:
        self._requests = Requests(self._started)
        self._token = trio.lowlevel.current_trio_token()
        self._obey()
        failure: Exception | None = None
        with self._scope:
            async with trio.open_nursery() as calls:
                self._calls = calls
                try:
                    await self._work(self._requests)
                except Exception as error:  # noqa: BLE001  raised below, without a group around it
                    failure = error
                finally:
                    self._calls = None
                    calls.cancel_scope.cancel()
        if failure is not None:
            raise failure


class _Call(Generic[Result]):
    """One function on its way through both loops."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        function: Callable[..., Awaitable[Result]],
        args: tuple[Any, ...],
    ) -> None:
        self.answer: asyncio.Future[Result] = loop.create_future()
        self.scope = trio.CancelScope()
        self._loop = loop
        self._function = function
        self._args = args

    async def run(self) -> None:
        """Under trio: the function, and its result on the way back."""
        try:
            with self.scope:
                result = await self._function(*self._args)
        except Exception as error:  # noqa: BLE001  it belongs to the caller, not to the router
            self.fail(error)
        except BaseException:  # cancelled from outside, perhaps in a group
            self.fail(RouterStopped())
            raise
        else:
            if self.scope.cancelled_caught:
                return  # the caller has left
            self._give(self.answer.set_result, result)

    def fail(self, error: Exception) -> None:
        """Under trio: the caller gets `error`."""
        self._give(self.answer.set_exception, error)

    def _give(self, give: Callable[[Any], None], value: Any) -> None:
        def give_if_wanted() -> None:
            if not self.answer.done():
                give(value)

        with suppress(RuntimeError):  # the screens' loop is closed: nobody waits
            self._loop.call_soon_threadsafe(give_if_wanted)
