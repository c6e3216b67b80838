"""What a probe or a failed request says about a worker: which step it should take, and why.

This file must not know the pool beyond the question whether others answer; it changes nothing: the
pool applies what is returned. Rules:

- `failures` bad probes in a row quarantine; each before that makes an active worker suspect.
- A worker that delivered answer bytes while its probe failed is busy, not dead: nothing counts.
- A worker whose generation somebody paused is neither: nothing counts until it is continued.
- The last routable worker is not quarantined as long as it answers at all (mass failure: a pool
  that is half alive beats an empty one). One that cannot be reached answers nothing.
- A request that could not even connect because the worker refused ejects it at once.
- Client aborts, 4xx, 429/503 and long durations are no failures: they never get here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from miles_router.core.lifecycle import State, Trigger
from miles_router.core.worker import ProbeOutcome
from miles_router.errors import DialFailed, WorkerBroke, WorkerFault, WorkerTimeout

if TYPE_CHECKING:
    from miles_router.core.worker import ProbeReport, Worker


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """How many probes decide, and how often they are sent."""

    failures: int = 3
    successes: int = 2
    interval_s: float = 10.0
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The step to take; `trigger` None means that nothing changes, not even the counters."""

    trigger: Trigger | None
    reason: str = ""


def judge_probe(
    worker: Worker, report: ProbeReport, limits: HealthLimits, *, others_answer: bool
) -> Verdict:
    """What `report` means for `worker`, whose counters do not include it yet."""
    if report.passed:
        return Verdict(Trigger.PASSED, "probe passed")
    if report.outcome is ProbeOutcome.PAUSED:
        return Verdict(None, "paused")
    if worker.last_bytes_at >= report.started_at:
        return Verdict(None, "probe failed while the worker was delivering answers")
    failures = worker.failures_in_row + 1
    reason = f"probe {report.outcome.value}"
    if report.detail:
        reason += f": {report.detail}"
    if worker.state is State.JOINING:
        return Verdict(Trigger.FAILED, reason)  # it may be starting: failures are not counted out
    if failures < limits.failures:
        return Verdict(Trigger.FAILED, f"{reason} ({failures} of {limits.failures})")
    if worker.is_routable and not others_answer and report.answered:
        return Verdict(Trigger.FAILED, f"{reason}; kept, because no other worker answers")
    return Verdict(Trigger.FAILED_OUT, f"{reason} ({failures} in a row)")


def judge_fault(worker: Worker, fault: WorkerFault, limits: HealthLimits) -> Verdict:
    """What a failed request means for `worker`."""
    if isinstance(fault, WorkerTimeout):
        return Verdict(None, "a long answer is no failure")
    if isinstance(fault, DialFailed):
        return Verdict(Trigger.EJECT, fault.message)
    if worker.state not in {State.ACTIVE, State.SUSPECT}:
        return Verdict(None, "not serving")
    failures = worker.failures_in_row + 1
    if failures < limits.failures or isinstance(fault, WorkerBroke):
        # A broken answer asks for a probe instead of deciding alone: a crashed worker fails that
        # probe within milliseconds, a poisonous prompt must not empty the pool.
        return Verdict(Trigger.FAILED, fault.message)
    return Verdict(Trigger.FAILED_OUT, f"{fault.message} ({failures} in a row)")


def next_probe_delay_s(state: State, limits: HealthLimits) -> float:
    """Seconds from the start of one probe to the start of the next.

    A worker that is starting is asked every second, so that it serves as soon as it can.
    """
    if state is State.JOINING:
        return min(1.0, limits.interval_s)
    return limits.interval_s
