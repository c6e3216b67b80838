"""The listener: takes connections and has them served, in the lane or by Hypercorn.

A connection begins in the fast lane (`lane`). The first request that is not plain takes it to
Hypercorn (`gated_server`), where the lane still serves what is plain. Besides, a sweep looks for
connections whose client has left or says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext

from miles_router.net import departures
from miles_router.net.accepting import BurstListener, accept_troubles_to
from miles_router.net.gated_server import GatedServer
from miles_router.net.intake import Intake, SpareRoom
from miles_router.net.lane import Lane
from miles_router.net.readiness import Readiness
from miles_router.net.server_config import hypercorn_config

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from miles_router.core.metrics import Metrics
    from miles_router.net.express import Express

    App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Ingress:
    """Serves an ASGI app on TCP listeners."""

    def __init__(
        self, app: App, *, metrics: Metrics, log: FilteringBoundLogger, has_lane: bool = True
    ) -> None:
        """Without the lane, Hypercorn serves all requests; it is there to be compared with."""
        self.plain_app = app
        self._has_lane = has_lane
        self.app = ASGIWrapper(app)  # type: ignore[arg-type]  # our ASGI types are plain dicts
        self.config = hypercorn_config()
        self.context = WorkerContext(None)
        self.lifespan_state: dict[str, Any] = {}
        self.connections: set[GatedServer | Lane] = set()
        self.lanes: set[Lane] = set()
        self.intakes: set[Intake] = set()
        self.readiness = Readiness(lambda: log.exception("connection_failed"))
        self.express: Express | None = None  # set before connections are accepted
        self.room = SpareRoom()
        self.metrics = metrics
        self.log = log

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end; never raises what belongs to it alone."""
        if not self._has_lane:
            await GatedServer(self, stream).run()
            return
        try:
            lane = Lane(self, stream)
        except OSError:  # its client has reset it already, and so it has no name
            return
        handed = await lane.serve()
        if handed is not None:
            await GatedServer(self, stream, lane, handed).run()

    async def run(
        self,
        listeners: list[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Start the app, then accept connections until cancelled; ready when it accepts.

        Cancellation: running connections are cancelled with it. `stop_accepting` comes first where
        they are to finish.
        """
        lifespan = Lifespan(self.app, self.config, self.lifespan_state)
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
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
                lane.end_if_idle(now, self.config.keep_alive_timeout)

    async def stop_accepting(self) -> None:
        """Close the listeners; idle connections end, busy ones end after their answer."""
        self._accepting.cancel()
        await self.context.terminated.set()
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
