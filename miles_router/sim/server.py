"""The worker on the network: connections, the listener, and the process's main function."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import trio

from miles_router.sim.faults import FaultSyntaxError
from miles_router.sim.http import ClientGone, Connection
from miles_router.sim.misbehave import misbehave, send_reply
from miles_router.sim.routes import answer
from miles_router.sim.worker import Worker

if TYPE_CHECKING:
    from miles_router.sim.http import Request
    from miles_router.sim.settings import SimSettings

KEEP_ALIVE_S = 5.0
"""How long an idle connection stays open; uvicorn's default, which SGLang keeps."""

_BACKLOG = 2048


async def _exchange(worker: Worker, connection: Connection, request: Request) -> bool:
    if request.path.startswith("/sim/"):
        return await _answer(worker, connection, request)
    worker.stats.note_request(request)
    with worker.stats.counted(request):
        return await _answer(worker, connection, request)


async def _answer(worker: Worker, connection: Connection, request: Request) -> bool:
    fault = worker.faults.take(request.path)
    if fault is None:
        return await send_reply(connection, request, await answer(worker, request))
    worker.stats.faults[fault.kind] += 1
    reply = functools.partial(answer, worker, request)
    return await misbehave(worker, connection, request, fault, reply)


async def _converse(worker: Worker, connection: Connection, keep_alive_s: float) -> None:
    while True:
        request: Request | None = None
        with trio.move_on_after(keep_alive_s):
            request = await connection.next_request()
        if request is None:
            return
        keep = False
        with trio.CancelScope() as scope:
            connection.begin_exchange(scope)
            keep = await _exchange(worker, connection, request)
        connection.end_exchange()
        if not keep:
            return


async def serve_stream(
    worker: Worker, stream: trio.abc.Stream, *, keep_alive_s: float = KEEP_ALIVE_S
) -> None:
    """Answer one client's requests until it leaves or idles; closes the stream.

    The worker's engine must be running. Cancellation: the stream is closed, the request being
    answered leaves no generation behind.
    """
    connection = Connection(stream)
    worker.stats.connections_open += 1
    worker.stats.connections_total += 1
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.receive)
            with contextlib.suppress(ClientGone):
                await _converse(worker, connection, keep_alive_s)
            nursery.cancel_scope.cancel()
    finally:
        worker.stats.connections_open -= 1
        # Shielded, because a Cancelled raised here would hide what went wrong above.
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


async def open_listener(host: str, port: int) -> trio.SocketListener:
    """Listen on one address; a port just left by a killed worker can be taken again."""
    first, *others = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    for other in others:
        await other.aclose()
    return first


async def _accept_until_asked(
    worker: Worker,
    listener: trio.SocketListener,
    connections: trio.Nursery,
    keep_alive_s: float,
) -> float:
    """Accept connections until a fault wants them refused; for how many seconds."""
    handle = functools.partial(serve_stream, worker, keep_alive_s=keep_alive_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            functools.partial(trio.serve_listeners, handle, [listener], handler_nursery=connections)
        )
        seconds = await worker.refusing.wait_asked()
        nursery.cancel_scope.cancel()
    return seconds


async def serve_worker(
    worker: Worker,
    listener: trio.SocketListener,
    *,
    keep_alive_s: float = KEEP_ALIVE_S,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run a worker and accept connections; starts with its URL. Closes the listener."""
    host = worker.settings.host
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        shown_host = f"[{host}]" if ":" in host else host
        task_status.started(f"http://{shown_host}:{port}")
        while True:
            seconds = await _accept_until_asked(worker, listener, nursery, keep_alive_s)
            await trio.sleep(seconds)
            listener = await open_listener(host, port)
    raise AssertionError("a worker serves until it is cancelled")


async def serve(
    settings: SimSettings,
    *,
    keep_alive_s: float = KEEP_ALIVE_S,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run a worker made from `settings` and listen for it; starts with its URL.

    Raises:
        OSError: the port cannot be had.
    """
    worker = Worker(settings)
    listener = await open_listener(settings.host, settings.port)
    await serve_worker(worker, listener, keep_alive_s=keep_alive_s, task_status=task_status)


def _exit_at_once(code: int) -> NoReturn:
    os._exit(code)


async def _serve_until_signal(worker: Worker) -> None:
    settings = worker.settings
    listener = await open_listener(settings.host, settings.port)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_worker, worker, listener)
            sys.stderr.write(f"simulated worker listening on {url}\n")
            sys.stderr.flush()
            await anext(signals)
            nursery.cancel_scope.cancel()


def main(settings: SimSettings) -> int:
    """Run one worker until SIGINT or SIGTERM; the exit code: 2 if it cannot be run as asked."""
    try:
        worker = Worker(settings, exit_process=_exit_at_once)
        trio.run(_serve_until_signal, worker)
    except FaultSyntaxError as error:
        sys.stderr.write(f"--fault: {error}\n")
        return 2
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        sys.stderr.write(f"cannot listen on {place}: {error.strerror or error}\n")
        return 2
    return 0
