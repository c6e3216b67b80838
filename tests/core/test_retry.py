"""Which failed attempts are repeated: never a second generation, never a lost request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from miles_router.core.retry import Repeatable, may_retry
from miles_router.errors import (
    DialFailed,
    DialTimeout,
    NotAWorker,
    WorkerBroke,
    WorkerFault,
    WorkerTimeout,
)

GENERATION = Repeatable("POST", is_generation=True, has_whole_body=True)
READ = Repeatable("GET", is_generation=False, has_whole_body=True)
HEAD = Repeatable("HEAD", is_generation=False, has_whole_body=True)
WRITE = Repeatable("POST", is_generation=False, has_whole_body=True)
DELETE = Repeatable("DELETE", is_generation=False, has_whole_body=True)

UNSENT = [DialFailed("refused"), DialTimeout("slow")]
BROKE = WorkerBroke("reset")
TIMEOUT = WorkerTimeout("silent")


def asks(
    request: Repeatable,
    fault: WorkerFault,
    *,
    tries: int = 1,
    retries: int = 2,
    others: bool = True,
) -> bool:
    return may_retry(request, fault, tries=tries, retries=retries, others=others)


@pytest.mark.parametrize("request_", [GENERATION, READ, HEAD, WRITE, DELETE])
@pytest.mark.parametrize("fault", UNSENT)
def test_what_no_worker_has_seen_is_repeated(request_: Repeatable, fault: WorkerFault) -> None:
    assert asks(request_, fault)


@pytest.mark.parametrize(
    ("request_", "may"),
    [(GENERATION, True), (READ, True), (HEAD, True), (WRITE, False), (DELETE, False)],
)
def test_what_a_worker_may_have_seen_is_repeated_if_it_leaves_nothing_behind(
    request_: Repeatable, may: bool
) -> None:
    assert asks(request_, BROKE) is may


@pytest.mark.parametrize("request_", [GENERATION, READ, WRITE])
def test_a_timeout_is_never_repeated(request_: Repeatable) -> None:
    assert not asks(request_, TIMEOUT)


@pytest.mark.parametrize("request_", [GENERATION, WRITE])
def test_a_body_that_cannot_be_sent_again_is_repeated_while_none_of_it_was_sent(
    request_: Repeatable,
) -> None:
    streamed = replace(request_, has_whole_body=False)
    assert all(asks(streamed, fault) for fault in UNSENT)
    assert not any(asks(streamed, fault) for fault in (BROKE, NotAWorker("?"), TIMEOUT))


@pytest.mark.parametrize("fault", [*UNSENT, BROKE, NotAWorker("?")])
def test_nothing_is_repeated_without_another_worker(fault: WorkerFault) -> None:
    assert not asks(GENERATION, fault, others=False)


@pytest.mark.parametrize(
    ("tries", "retries", "may"),
    [(1, 0, False), (1, 1, True), (2, 1, False), (2, 2, True), (3, 2, False)],
)
def test_the_number_of_retries_is_what_was_configured(tries: int, retries: int, may: bool) -> None:
    assert asks(GENERATION, DialFailed("refused"), tries=tries, retries=retries) is may
