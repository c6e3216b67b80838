"""What happens to the workers: registration, operators' commands, probes and failed requests.

Each comes in here and becomes a step of the `lifecycle` table with its reason (see `roster`). What
a probe or a failure means is judged in `health`; which weight version may serve in `versions`.
This file must not know sockets, HTTP or clocks: callers pass `now` (seconds, monotonic).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core import health
from miles_router.core.lifecycle import LEAVING, State, Trigger
from miles_router.core.roster import Roster
from miles_router.core.worker import ProbeReport, Worker, WorkerSpec, worker_id

if TYPE_CHECKING:
    from miles_router.core.admission import Admission
    from miles_router.core.events import EventLog
    from miles_router.core.health import HealthLimits, Verdict
    from miles_router.errors import WorkerFault


class Pool(Roster):
    """The roster, with what may be done to it."""

    def __init__(
        self,
        *,
        workers: dict[str, Worker],
        admission: Admission,
        events: EventLog,
        limits: HealthLimits,
    ) -> None:
        """`workers` is the (empty) dict that `admission` also reads."""
        super().__init__(workers=workers, admission=admission, events=events)
        self._limits = limits
        admission.on_emptied = self._note_emptied

    # -- membership ---------------------------------------------------------------------------

    def add(self, spec: WorkerSpec, now: float, *, lifts_hold: bool = True) -> Worker:
        """Register the worker of `spec`; a known one that is out comes back through probation.

        What `spec` leaves open (key, labels) keeps its value. Only a trusted caller (`lifts_hold`)
        lifts an operator's quarantine or drain, or replaces values that are known.
        """
        known = self.workers.get(worker_id(spec.url))
        if known is None:
            return self._join(spec, now)
        known.spec = spec.merged_over(known.spec) if lifts_hold else known.spec.merged_over(spec)
        known.addresses = spec.addresses
        is_drained = known.state in LEAVING and not known.is_leaving
        if not lifts_hold and (known.is_held or is_drained):
            return known
        known.is_leaving = False
        known.is_held = False
        known.drain_deadline = None
        if known.state in LEAVING or known.state is State.QUARANTINED:
            known.passes_in_row = 0
        self.step(known, Trigger.READD, "registered again", now)
        self.probe_soon(known)
        return known

    def _join(self, spec: WorkerSpec, now: float) -> Worker:
        worker = Worker(id=worker_id(spec.url), spec=spec, added_at=now, since=now)
        worker.addresses = spec.addresses
        self.workers[worker.id] = worker
        self.emit(worker, None, now)
        self.probe_soon(worker)
        return worker

    def remove(self, worker: Worker, now: float, *, deadline_s: float | None = None) -> None:
        """Give `worker` nothing new and forget it as soon as nothing runs on it."""
        if worker.inflight == 0:
            self.step(worker, Trigger.REMOVE, "removed", now)
            return
        if worker.state is not State.DRAINING:
            self.step(worker, Trigger.DRAIN, "being removed", now)
        worker.is_leaving = True
        worker.drain_deadline = None if deadline_s is None else now + deadline_s

    def drain(self, worker: Worker, now: float, *, deadline_s: float | None = None) -> None:
        """Give `worker` nothing new; it is drained when nothing runs on it."""
        self.step(worker, Trigger.DRAIN, "drained by an operator", now)
        worker.drain_deadline = None if deadline_s is None else now + deadline_s
        if worker.inflight == 0:
            self._note_emptied(worker, now)

    def undrain(self, worker: Worker, now: float) -> None:
        """Take the drain back: a worker whose probes are good serves again at once."""
        self.step(worker, Trigger.UNDRAIN, "undrained by an operator", now)
        worker.is_leaving = False
        worker.drain_deadline = None
        if worker.is_held:  # undrain takes the drain back, not the quarantine that was before it
            self.step(worker, Trigger.QUARANTINE, "still quarantined by an operator", now)
        self._admit_if_ready(worker, now)
        self.probe_soon(worker)

    def quarantine(self, worker: Worker, now: float, *, reason: str = "") -> None:
        """Take `worker` out until an operator releases it."""
        why = f"by an operator: {reason}" if reason else "by an operator"
        before = worker.state
        self.step(worker, Trigger.QUARANTINE, why, now)
        worker.is_held = True
        if before is State.QUARANTINED:  # no step, but news: probes do not bring it back any more
            worker.reason = why
            self.emit(worker, before, now)

    def release(self, worker: Worker, now: float) -> None:
        """Let a quarantined worker back on probation, or a stale one serve as it is."""
        self.step(worker, Trigger.RELEASE, "released by an operator", now)
        worker.is_held = False
        worker.passes_in_row = 0
        if worker.state is State.ACTIVE:
            self._note_version(worker, worker.weight_version, now)
            if not self.others_serve(worker):
                self.versions.renew(worker.weight_version)
                self.ask_stale()
        self.probe_soon(worker)

    def _note_emptied(self, worker: Worker, now: float) -> None:
        if worker.state is not State.DRAINING:
            return
        if worker.is_leaving:
            self.step(worker, Trigger.REMOVE, "removed", now)
        else:
            worker.drain_deadline = None
            self.step(worker, Trigger.EMPTIED, "no request left", now)

    # -- health -------------------------------------------------------------------------------

    def begin_probe(self, worker: Worker, now: float, *, jitter: float = 0.0) -> None:
        """A probe of `worker` starts; the next one is due one interval (+ jitter) from here."""
        worker.is_probing = True
        delay_s = health.next_probe_delay_s(worker.state, self._limits)
        worker.next_probe_at = now + delay_s * (1.0 + jitter)

    def end_probe(self, worker: Worker) -> None:
        """The probe of `worker` is over, also when it was cancelled without a report."""
        worker.is_probing = False
        worker.probes_ended += 1

    def note_probe(self, worker: Worker, report: ProbeReport, now: float) -> None:
        """Take in a finished probe."""
        if worker.state is State.REMOVED:
            return
        worker.last_probe = report
        verdict = health.judge_probe(
            worker, report, self._limits, others_answer=self.others_answer(worker)
        )
        if report.passed:
            self._note_passed(worker, report, now)
        else:
            worker.fault_counted = False
            self._note_failed(worker, verdict, now)

    def note_fault(self, worker: Worker, fault: WorkerFault, now: float) -> None:
        """Take in a request that failed because of its worker."""
        worker.errors += 1
        if worker.state is State.REMOVED:
            return
        verdict = health.judge_fault(worker, fault, self._limits)
        if verdict.trigger is None:
            return
        if worker.fault_counted and verdict.trigger is not Trigger.EJECT:
            return  # requests that fail together are one failure; the next probe tells more
        worker.fault_counted = True
        self._note_failed(worker, verdict, now)
        self.probe_soon(worker)

    def _note_failed(self, worker: Worker, verdict: Verdict, now: float) -> None:
        if verdict.trigger is None:
            return
        worker.failures_in_row += 1
        worker.passes_in_row = 0
        if worker.state is State.JOINING:  # it may be starting: no step, but said once
            if worker.failures_in_row == 1:
                self._tell_first_failure(worker, verdict.reason, now)
            return
        self.step(worker, verdict.trigger, verdict.reason, now)

    def _tell_first_failure(self, worker: Worker, reason: str, now: float) -> None:
        self.events.add(
            "first_probe_failed",
            f"{worker.url} is joining and gets no requests before a probe passes: {reason}",
            now,
            worker_id=worker.id,
            url=worker.url,
            reason=reason,
        )

    def _note_passed(self, worker: Worker, report: ProbeReport, now: float) -> None:
        worker.failures_in_row = 0
        worker.passes_in_row += 1
        worker.model_path = report.model_path
        worker.fault_counted = False
        previous, worker.weight_version = worker.weight_version, report.weight_version
        probed_before, worker.probed_version = worker.probed_version, report.weight_version
        if worker.is_held:
            return
        if worker.is_routable:
            # Probes that all pass and say what they said tell of no restart, whatever answers say:
            # a probe may have begun before an update, and an answer may be wrong.
            may_be_new = report.weight_version != probed_before or worker.state is State.SUSPECT
            if may_be_new and self._came_back_stale(worker, previous):
                self._hold_stale(worker, now)
                return
            self._note_version(worker, report.weight_version, now)
        if worker.state is State.QUARANTINED:
            worker.passes_in_row = 1
        self.step(worker, Trigger.PASSED, "probe passed", now)
        self._admit_if_ready(worker, now)

    def _admit_if_ready(self, worker: Worker, now: float) -> None:
        """Let a worker that showed itself healthy serve, unless its weights are not the newest."""
        joining = worker.state is State.JOINING
        needed = 1 if joining else self._limits.successes
        waiting = worker.state in {State.JOINING, State.PROBATION, State.STALE}
        if not waiting or worker.passes_in_row < needed:
            return
        version = worker.weight_version
        if self.versions.may_serve(version, others_serve=self.others_serve(worker)):
            self.step(worker, Trigger.ADMIT, "joined" if joining else "healthy again", now)
            worker.passes_in_row = max(worker.passes_in_row, self._limits.successes)
            self._note_version(worker, version, now)
        else:
            self._hold_stale(worker, now)

    def _hold_stale(self, worker: Worker, now: float) -> None:
        newest = self.versions.newest
        reason = f"weight version {worker.weight_version!r} is not the newest, {newest!r}"
        self.step(worker, Trigger.HOLD_STALE, reason, now)
        worker.reason = reason

    def _came_back_stale(self, worker: Worker, previous: str | None) -> bool:
        """Whether a serving worker restarted unnoticed and lost its weights.

        A version that changed to one that arrived before it, or that changed across failed probes
        to one that is not the newest, is not an update. A worker that keeps its version while
        others are updated is left alone: updates roll through a pool.
        """
        version = worker.weight_version
        if version == previous:
            return False
        went_back = self.versions.arrived_before(version, previous)
        others = self.others_serve(worker)
        if not went_back and worker.state is not State.SUSPECT:
            return False
        return not self.versions.may_serve(version, others_serve=others)

    def note_weight_version(self, worker: Worker, version: str, now: float) -> None:
        """Take in the weight version that an answer of `worker` carried."""
        if version == worker.weight_version == self.versions.newest:
            return  # as with nearly all
        if self.versions.arrived_before(version, worker.weight_version):
            return  # the answer began before an update that is known already
        if worker.state is State.SUSPECT and version != self.versions.newest:
            return  # it may have restarted: its next probe tells
        worker.weight_version = version
        if worker.is_routable:
            self._note_version(worker, version, now)

    def _note_version(self, worker: Worker, version: str | None, now: float) -> None:
        previous = self.versions.newest
        if not self.versions.arrive(version):
            return
        self.events.add(
            "weight_version",
            f"weight version {version!r} arrived with {worker.url}",
            now,
            worker_id=worker.id,
            url=worker.url,
            reason=None if previous is None else f"follows {previous!r}",
        )
        self.ask_stale()
