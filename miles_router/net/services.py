"""What a running router is made of, in one value that is handed to whoever serves a request.

`app` puts it together; nobody else creates any of its parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    import trio
    from structlog.typing import FilteringBoundLogger

    from miles_router.config import Settings
    from miles_router.core.admission import Admission
    from miles_router.core.affinity import AffinityTable
    from miles_router.core.events import EventLog
    from miles_router.core.inflight import InflightTable
    from miles_router.core.metrics import Metrics
    from miles_router.core.pool import Pool
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
    token_cache: TokenCache | None = None
    is_stopping: bool = False
    own_calls: int = 0  # to the router's own routes and to engine control, now under way
