"""The listener: takes connections and has them served, in the lane or by Hypercorn.

A connection begins in the fast lane (`lane`). The first request that is not plain takes it to
Hypercorn (`gated_server`), where the lane still serves what is plain. Besides, a sweep looks for
connections whose client has left or says nothing. Hypercorn is loaded when it is first needed, or
when somebody loads it ahead of that.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from miles_router.net import departures
from miles_router.net.accepting import BurstListener, accept_troubles_to
from miles_router.net.intake import Intake, SpareRoom
from miles_router.net.lane import Lane
from miles_router.net.late import Late
from miles_router.net.readiness import Readiness
from miles_router.net.server_config import KEEP_ALIVE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from miles_router.core.metrics import Metrics
    from miles_router.net.express import Express
    from miles_router.net.gated_server import GatedServer
    from miles_router.net.lane_states import HandedOver

    ServerOf = Callable[[trio.SocketStream, Lane | None, HandedOver | None], GatedServer]
    App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


# How long Hypercorn may take to load, and to begin what was handed to it.
UNSERVED_S = 2.0


class Ingress:
    """Serves an ASGI app on TCP listeners."""

    def __init__(
        self, app: App, *, metrics: Metrics, log: FilteringBoundLogger, has_lane: bool = True
    ) -> None:
        """Without the lane, Hypercorn serves all requests; it is there to be compared with."""
        self.plain_app = app
        self._has_lane = has_lane
        self.hypercorn: Late[ServerOf] = Late(self._load_hypercorn)
        self.terminated = trio.Event()  # connections that wait for a request end
        self.connections: set[GatedServer | Lane] = set()
        self.lanes: set[Lane] = set()
        self.unserved: set[Lane] = set()  # Hypercorn has not given their requests to the app yet
        self.intakes: set[Intake] = set()
        self.readiness = Readiness(lambda: log.exception("connection_failed"))
        self.express: Express | None = None  # set before connections are accepted
        self.room = SpareRoom()
        self.metrics = metrics
        self.log = log

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end; never raises what belongs to it alone.

        Raises:
            BaseException: whatever keeps Hypercorn from being loaded.
        """
        if not self._has_lane:
            server_of = await self.hypercorn.get()
            await server_of(stream, None, None).run()
            return
        try:
            lane = Lane(self, stream)
        except OSError:  # its client has reset it already, and so it has no name
            return
        handed = await lane.serve()
        if handed is not None:
            self.unserved.add(lane)
            try:
                server_of = await self._hypercorn_for(lane)
                await server_of(stream, lane, handed).run()
            finally:
                self.unserved.discard(lane)

    async def _hypercorn_for(self, lane: Lane) -> ServerOf:
        """Hypercorn, once it is loaded; `lane` is a connection that is open meanwhile."""
        self.connections.add(lane)
        try:
            return await self.hypercorn.get()
        finally:
            self.connections.discard(lane)

    def _load_hypercorn(self) -> ServerOf:
        from miles_router.net.gated_server import GatedServer  # noqa: PLC0415  loads Hypercorn
        from miles_router.net.hypercorn_parts import HypercornParts  # noqa: PLC0415  as above

        return partial(GatedServer, self, HypercornParts(self.plain_app, self.terminated))

    async def run(
        self,
        listeners: list[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Accept connections until cancelled; ready when it accepts.

        Cancellation: running connections are cancelled with it. `stop_accepting` comes first where
        they are to finish.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.readiness.run)
            if self.express is not None:
                nursery.start_soon(self.express.run)
            nursery.start_soon(self.watch)
            self._accepting = trio.CancelScope()
            async with trio.open_nursery() as handlers:
                task_status.started()
                with self._accepting, accept_troubles_to(self.log):
                    await trio.serve_listeners(
                        self.serve_connection,
                        [BurstListener(listener) for listener in listeners],
                        handler_nursery=handlers,
                    )
                await trio.sleep_forever()
        raise AssertionError("unreachable")

    async def watch(self) -> NoReturn:
        """See for ever which clients have left, and which say nothing for too long."""
        while True:
            await trio.sleep(departures.SWEEP_INTERVAL_S)
            departures.sweep((*self.intakes, *(() if self.readiness.is_told else self.lanes)))
            now = trio.current_time()
            for lane in tuple(self.lanes):
                lane.end_if_idle(now, KEEP_ALIVE_S)

    async def stop_accepting(self) -> None:
        """Close the listeners; idle connections end, busy ones end after their answer."""
        self._accepting.cancel()
        with trio.move_on_after(UNSERVED_S):  # Hypercorn would end what it has not begun
            while self.unserved:  # noqa: ASYNC110  once in a life
                await trio.sleep(0.01)
        self.terminated.set()
        for lane in tuple(self.lanes):
            lane.end_now()

    @property
    def busy(self) -> int:
        """Connections that are open."""
        return len(self.connections)

    def reset_all(self) -> None:
        """End every connection at once."""
        for server in tuple(self.connections):
            server.reset()
