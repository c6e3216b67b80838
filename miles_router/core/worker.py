"""What the router knows about one worker: plain data, changed only by `pool` and its parts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

from miles_router.core.latencies import Latencies
from miles_router.core.lifecycle import ROUTABLE, State

if TYPE_CHECKING:
    from miles_router.core.urlrules import Address, Network, WorkerUrl

NEVER_S = float("-inf")


class ProbeOutcome(StrEnum):
    """What one health probe showed."""

    PASSED = "passed"
    UNHEALTHY = "unhealthy"  # answered, but not 200
    NOT_A_WORKER = "not_a_worker"  # answered, but not as an inference worker does
    PAUSED = "paused"  # alive, but somebody paused its generation
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BROKEN = "broken"  # connected, but no HTTP answer


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """One finished probe. Times are monotonic seconds."""

    outcome: ProbeOutcome
    started_at: float
    finished_at: float
    detail: str = ""
    weight_version: str | None = None
    model_path: str | None = None

    @property
    def passed(self) -> bool:
        """The worker is healthy and showed that it is a worker."""
        return self.outcome is ProbeOutcome.PASSED

    @property
    def answered(self) -> bool:
        """An inference worker answered, whatever it said; another service does not count."""
        return self.outcome in {
            ProbeOutcome.PASSED,
            ProbeOutcome.UNHEALTHY,
            ProbeOutcome.PAUSED,
        }


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a registration says about a worker. `extra` holds keys the router does not use."""

    url: WorkerUrl
    api_key: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    worker_type: str = "regular"
    extra: dict[str, object] = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()
    within: tuple[Network, ...] = ()
    """Registered without the admin token: its name must go on resolving into one of these."""

    def merged_over(self, older: WorkerSpec) -> WorkerSpec:
        """This registration, with what it leaves open taken from an older one."""
        return replace(
            self,
            api_key=older.api_key if self.api_key is None else self.api_key,
            labels={**older.labels, **self.labels},
            extra={**older.extra, **self.extra},
        )

    def __repr__(self) -> str:  # the key stays out of logs and tracebacks
        return f"WorkerSpec(url={str(self.url)!r}, worker_type={self.worker_type!r})"


@dataclass(slots=True, eq=False)
class Worker:
    """One worker of the pool.

    Invariant: `inflight` is the number of unreleased leases on it.
    """

    id: str
    spec: WorkerSpec
    added_at: float
    state: State = State.JOINING
    since: float = 0.0
    reason: str = "registered"
    inflight: int = 0
    served: int = 0
    errors: int = 0  # requests that failed because of it, and its answers with 5xx
    latencies: Latencies = field(default_factory=Latencies)  # from lease to last answer byte
    failures_in_row: int = 0
    passes_in_row: int = 0
    weight_version: str | None = None
    probed_version: str | None = None  # what the last good probe said
    model_path: str | None = None
    last_probe: ProbeReport | None = None
    is_probing: bool = False
    probes_ended: int = 0  # also those that were cancelled without a report
    next_probe_at: float = NEVER_S
    last_bytes_at: float = NEVER_S  # when the worker last sent answer bytes of a real request
    fault_counted: bool = False  # a failed request since the last probe counted as a failure
    is_held: bool = False  # quarantined by an operator: probes do not bring it back
    is_leaving: bool = False  # to be forgotten as soon as it is empty
    drain_deadline: float | None = None
    addresses: tuple[Address, ...] = ()  # checked against the address rules; dials go only there
    url: str = field(init=False)  # the one spelling; `id` follows from it, so it never changes

    def __post_init__(self) -> None:
        self.url = str(self.spec.url)

    def note_status(self, status: int) -> None:
        """It has answered a request with the HTTP status `status`."""
        self.errors += status >= 500

    @property
    def is_routable(self) -> bool:
        """Active or suspect: it may be given requests if it is not full."""
        return self.state in ROUTABLE

    def __repr__(self) -> str:
        return f"<Worker {self.id} {self.url} {self.state.value} inflight={self.inflight}>"


def worker_id(url: WorkerUrl) -> str:
    """The id of the worker at `url`: the same after a restart of router or worker."""
    return "w" + sha256(str(url).encode()).hexdigest()[:12]
