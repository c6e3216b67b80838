"""What a worker says about itself."""

from __future__ import annotations

import pytest

from miles_router.core.lifecycle import State
from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import ProbeOutcome, ProbeReport, WorkerSpec, worker_id
from tests.core.rig import bare_worker


@pytest.mark.parametrize("state", State)
def test_active_and_suspect_workers_are_routable(state: State) -> None:
    worker = bare_worker(1)
    worker.state = state
    assert worker.is_routable is (state in {State.ACTIVE, State.SUSPECT})


@pytest.mark.parametrize(
    ("outcome", "passed", "answered"),
    [
        (ProbeOutcome.PASSED, True, True),
        (ProbeOutcome.UNHEALTHY, False, True),
        (ProbeOutcome.PAUSED, False, True),
        (ProbeOutcome.NOT_A_WORKER, False, False),
        (ProbeOutcome.TIMEOUT, False, False),
        (ProbeOutcome.UNREACHABLE, False, False),
        (ProbeOutcome.BROKEN, False, False),
    ],
)
def test_what_a_probe_outcome_means(outcome: ProbeOutcome, passed: bool, answered: bool) -> None:
    report = ProbeReport(outcome, 0.0, 1.0)
    assert (report.passed, report.answered) == (passed, answered)


def test_a_registration_fills_what_it_leaves_open_from_the_older_one() -> None:
    url = parse_worker_url("http://10.0.0.1:8000")
    older = WorkerSpec(
        url, api_key="k", labels={"gpu": "h100", "rack": "1"}, worker_type="decode", extra={"a": 1}
    )
    assert WorkerSpec(url).merged_over(older) == WorkerSpec(
        url, api_key="k", labels={"gpu": "h100", "rack": "1"}, extra={"a": 1}
    )
    newer = WorkerSpec(url, api_key="", labels={"rack": "2"}, worker_type="prefill", extra={"b": 2})
    assert newer.merged_over(older) == WorkerSpec(
        url,
        api_key="",  # said to be empty is not left open
        labels={"gpu": "h100", "rack": "2"},
        worker_type="prefill",
        extra={"a": 1, "b": 2},
    )


def test_the_id_depends_on_the_url_alone_whatever_its_spelling() -> None:
    first = worker_id(parse_worker_url("http://LOCALHOST:80/"))
    assert first == worker_id(parse_worker_url("http://localhost"))
    assert first != worker_id(parse_worker_url("https://localhost"))
    assert first == "w8605b8ba08c2"  # stable: clients keep ids across restarts of the router


def test_the_key_of_a_worker_stays_out_of_its_repr() -> None:
    worker = bare_worker(1)
    worker.spec = WorkerSpec(worker.spec.url, api_key="sesame", extra={"token": "sesame"})
    assert "sesame" not in repr(worker.spec)
    assert "sesame" not in repr(worker)
    assert worker.url in repr(worker)


def test_the_url_stays_the_same_spelling_when_a_worker_registers_again() -> None:
    worker = bare_worker(1)
    assert worker.url == str(worker.spec.url)
    worker.spec = WorkerSpec(worker.spec.url, api_key="k").merged_over(worker.spec)
    assert worker.url == str(worker.spec.url)
