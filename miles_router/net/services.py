"""What a running router is made of, in one value that is handed to whoever serves a request.

`app` puts it together; nobody else creates any of its parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from miles_router.config import Settings
    from miles_router.core.admission import Admission
    from miles_router.core.affinity import AffinityTable
    from miles_router.core.events import EventLog
    from miles_router.core.inflight import InflightTable
    from miles_router.core.log_ring import LogRing
    from miles_router.core.metrics import Metrics
    from miles_router.core.pool import Pool
    from miles_router.core.snapshot import Snapshot
    from miles_router.net.dial import Dialer
    from miles_router.net.idle import IdleConnections
    from miles_router.net.token_cache import TokenCache


@dataclass(slots=True, eq=False)
class Services:
    """The parts of one router."""

    settings: Settings
    pool: Pool
    admission: Admission
    affinity: AffinityTable
    inflight: InflightTable
    events: EventLog
    metrics: Metrics
    dialer: Dialer
    idle: IdleConnections
    background: trio.Nursery  # for short calls that outlive the request that asked for them
    log: FilteringBoundLogger
    rng: random.Random
    started_at: float
    boot_id: str
    log_ring: LogRing
    # What `trio.current_time` asks, three calls nearer: a request asks a dozen times.
    now: Callable[[], float] = field(
        default_factory=lambda: trio.lowlevel.current_clock().current_time
    )
    url: str = ""  # where it listens, once it does
    latest: Snapshot | None = None  # kept fresh by `tasks.publish` while somebody wants it
    snapshot_rate_hz: float = 0.0  # 0: nobody does; see `want_snapshots`
    focus: str | None = None  # the id of the worker whose oldest requests `latest` lists
    on_snapshots_wanted: Callable[[], None] = lambda: None
    token_cache: TokenCache | None = None
    is_stopping: bool = False
    own_calls: int = 0  # to the router's own routes and to engine control, now under way

    def want_snapshots(self, rate_hz: float) -> None:
        """Keep `latest` fresh, `rate_hz` times a second; 0 ends that. Only from the trio thread."""
        self.snapshot_rate_hz = rate_hz
        self.on_snapshots_wanted()

    @property
    def policy(self) -> str:
        """The name of the policy that chooses workers."""
        return self.settings.policy

    @property
    def shutdown_grace_s(self) -> float:
        """Seconds that running requests get when the router stops."""
        return self.settings.shutdown_grace_s
