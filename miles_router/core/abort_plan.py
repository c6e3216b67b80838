"""How an abort reaches each request that it names.

A worker ends what it is told by an id that it knows. Three kinds of requests are ended by the
router instead, which closes their connection to the worker: those that no worker has yet (an abort
ahead of its request would be lost), those whose worker knows them by no id that the abort names,
and those whose id would also end the request of another tenant. This file must not know how aborts
are sent or connections closed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from miles_router.core.request import is_generation

if TYPE_CHECKING:
    from miles_router.core.inflight import InflightTable, RidIndex, Running
    from miles_router.core.worker import Worker


@dataclass(slots=True)
class AbortPlan:
    """Who ends what."""

    unsent: list[Running] = field(default_factory=list)  # by the router: no worker has them
    closed: list[Running] = field(default_factory=list)  # by the router: it closes the connection
    without_rid: int = 0  # so many of these because their worker knows them by no named id
    calls: dict[tuple[Worker, str], None] = field(default_factory=dict)  # by the worker: this id


def plan_abort(
    table: InflightTable, named: list[Running], *, rid: str, tenant: str | None
) -> AbortPlan:
    """Plan the abort of `named`: requests that `rid` names, or all of `tenant`'s for an empty one.

    `tenant` is None for a caller who may abort everything. What is planned is marked as aborted:
    no worker that breaks off makes it run on another.
    """
    own = None if tenant is None else frozenset(table.of_tenant(tenant))
    return _plan(table, named, rid=rid, own=own)


def plan_abort_exactly(table: InflightTable, named: list[Running]) -> AbortPlan:
    """Plan the abort of `named` and of nothing else, whatever ids they share with others.

    What does not generate is ended as well: by the router, which closes its connection.
    """
    plan = _plan(table, named, rid="", own=frozenset(named))
    for one in named:
        if one.is_sent and not one.is_stopped and not one.is_aborted:
            one.is_aborted = True
            plan.closed.append(one)
    return plan


def _plan(
    table: InflightTable, named: list[Running], *, rid: str, own: frozenset[Running] | None
) -> AbortPlan:
    """Plan the abort of `named` without ending what is not in `own` (None: anything may end)."""
    plan = AbortPlan()
    others: dict[Worker, RidIndex] = {}
    for one in named:
        worker = one.worker
        if one.is_stoppable:
            one.is_aborted = True
            plan.unsent.append(one)
        if worker is None or not one.is_sent or one.is_stopped or not is_generation(one.path):
            continue
        one.is_aborted = True
        matching = [known for known in one.rids if known.startswith(rid)]
        if not matching:
            plan.without_rid += 1
            plan.closed.append(one)
            continue
        if own is not None and worker not in others:
            others[worker] = table.others_on(worker, besides=own)
        if own is not None and any(others[worker].has_any(known) for known in matching):
            plan.closed.append(one)
        else:
            plan.calls.update(((worker, known), None) for known in matching)
    return plan


def plan_abort_all(named: list[Running]) -> AbortPlan:
    """Plan the end of everything, where each worker is told to end all it has."""
    plan = AbortPlan(unsent=[one for one in named if one.is_stoppable])
    for one in named:
        is_on_worker = one.worker is not None and one.is_sent and is_generation(one.path)
        one.is_aborted = one.is_aborted or one.is_stoppable or is_on_worker
    return plan
