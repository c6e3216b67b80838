from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from miles_router.tui.commands import (
    Abort,
    Add,
    ClearNamespace,
    Command,
    Drain,
    Probe,
    Quarantine,
    Release,
    Remove,
    Sweep,
    Undrain,
)
from miles_router.tui.questions import Question, Quit, question
from tests.tui import pool_pictures as pictures

if TYPE_CHECKING:
    from miles_router.core.snapshot import Snapshot
    from miles_router.tui.questions import Asked

POOL = pictures.picture(14)
FIRST, SECOND = POOL.workers[:2]


def pool(*inflight: int, **changes: object) -> Snapshot:
    """Serving workers with so many requests each; `changes` are the first one's."""
    workers = [msgspec.structs.replace(POOL.workers[i], inflight=n) for i, n in enumerate(inflight)]
    workers[0] = msgspec.structs.replace(workers[0], **changes)
    return msgspec.structs.replace(POOL, workers=tuple(workers))


def asked(command: Asked, snapshot: Snapshot | None, *, is_local: bool = False) -> Question:
    found = question(command, snapshot, is_local=is_local)
    assert found is not None
    return found


def outcomes(found: Question) -> list[tuple[str, Asked | None]]:
    return [(choice.label, choice.outcome) for choice in found.choices]


@pytest.mark.parametrize(
    "command",
    [
        Drain(FIRST.id),
        Undrain(FIRST.id),
        Release(FIRST.id),
        Probe(FIRST.id),
        Add("http://10.0.0.1:30000"),
        Sweep(),
    ],
)
def test_what_can_be_taken_back_is_not_asked(command: Command) -> None:
    assert question(command, pool(3, 3), is_local=True) is None


@pytest.mark.parametrize("command", [Drain, Quarantine])
def test_the_last_worker_that_serves(command: type[Drain | Quarantine]) -> None:
    found = asked(command(FIRST.id), pool(3))
    assert found.title == f"{command.__name__} 10.0.0.10:30000?"
    lines = found.text.splitlines()
    assert lines[0] == (
        "It is the last worker that serves: new requests will wait until another does."
    )
    assert lines[-1] == "3 requests in flight will finish."
    assert outcomes(found) == [("Yes", command(FIRST.id)), ("No", None)]
    assert found.default.outcome is None


def test_a_worker_that_does_not_serve_is_not_the_last() -> None:
    stale = pool(0, 0, status="stale", is_healthy=False)
    assert question(Drain(FIRST.id), stale, is_local=False) is None


def test_others_that_do_not_serve_do_not_count() -> None:
    workers = pool(1, 0).workers
    other = msgspec.structs.replace(workers[1], status="stale", is_healthy=False)
    both = msgspec.structs.replace(POOL, workers=(workers[0], other))
    assert question(Drain(FIRST.id), both, is_local=False) is not None


def test_a_quarantine_always_asks() -> None:
    found = asked(Quarantine(FIRST.id), pool(1, 0))
    assert found.text == (
        "It gets no requests until it is released, whatever its health checks say.\n"
        "1 request in flight will finish."
    )
    assert found.default.label == "No"


def test_remove_with_nothing_in_flight() -> None:
    found = asked(Remove(FIRST.id), pool(0, 4))
    assert found.text == "Nothing runs on it."
    assert outcomes(found) == [("Yes", Remove(FIRST.id)), ("No", None)]
    assert found.default.label == "No"


def test_remove_with_requests_in_flight() -> None:
    found = asked(Remove(FIRST.id), pool(3, 4))
    assert found.text.splitlines()[0] == "3 requests in flight."
    assert outcomes(found) == [
        ("Drain, then remove", Remove(FIRST.id)),
        ("Remove now", Remove(FIRST.id, cuts=True)),
        ("Cancel", None),
    ]
    assert [choice.key for choice in found.choices] == ["d", "x", "escape"]
    assert found.default.label == "Drain, then remove"
    assert [choice.typed for choice in found.choices] == ["", FIRST.id[:6], ""]


def test_remove_what_is_being_removed() -> None:
    found = asked(Remove(FIRST.id), pool(3, 4, status="draining", is_leaving=True))
    assert outcomes(found) == [("Remove now", Remove(FIRST.id, cuts=True)), ("Cancel", None)]
    assert found.default.outcome is None


@pytest.mark.parametrize("command", [Drain("w-none"), Quarantine("w-none"), Remove("w-none")])
def test_a_worker_that_has_gone_is_left_to_the_router(command: Command) -> None:
    assert question(command, POOL, is_local=False) is None
    assert question(command, None, is_local=False) is None


def test_abort_says_what_it_ends() -> None:
    running = pictures.request(5, FIRST.id, 12.3)
    shown = msgspec.structs.replace(POOL, requests=(running,))
    found = asked(Abort(running.request_id), shown)
    assert found.title == "Abort rollout-0000-5?"
    assert found.text == (
        "/generate of tenant default, on 10.0.0.10:30000, for 12s.\n"
        "4,885 bytes of its answer were sent; the rest is lost."
    )
    assert outcomes(found) == [("Yes", Abort(running.request_id)), ("No", None)]


def test_what_others_wrote_is_made_safe() -> None:
    nasty = "a\x1b[2J\n\u202eb"
    running = msgspec.structs.replace(pictures.request(5, FIRST.id, math.nan), rids=(nasty,))
    running = msgspec.structs.replace(running, tenant=nasty)
    shown = msgspec.structs.replace(POOL, requests=(running,))
    found = asked(Abort(running.request_id), shown)
    assert found.title == r"Abort a\x1b[2J\n\u202eb?"
    assert found.text.splitlines()[0] == (
        r"/generate of tenant a\x1b[2J\n\u202eb, on 10.0.0.10:30000, for -."
    )
    assert nasty not in asked(ClearNamespace(nasty), POOL).title


def test_abort_of_a_request_that_waits_or_is_not_shown() -> None:
    waiting = pictures.request(8, None, 2.0)
    shown = msgspec.structs.replace(POOL, requests=(waiting,))
    assert "waiting for a worker" in asked(Abort(waiting.request_id), shown).text
    assert asked(Abort("req-x"), None).title == "Abort req-x?"


def test_clear_says_how_much() -> None:
    found = asked(ClearNamespace("team-b"), POOL)
    assert found.title == "Clear the token cache of team-b?"
    assert found.text.splitlines()[0] == "207 trajectories with 5,200,000 tokens will be deleted."
    assert outcomes(found) == [("Yes", ClearNamespace("team-b")), ("No", None)]
    unknown = asked(ClearNamespace("team-z"), POOL)
    assert "trajector" not in unknown.text


@pytest.mark.parametrize(
    ("inflight", "queued", "told"),
    [
        (3, 0, "3 requests in flight."),
        (1, 2, "1 request in flight, 2 requests waiting."),
        (0, 1, "1 request waiting."),
    ],
)
def test_quitting_a_router_that_works_asks(inflight: int, queued: int, told: str) -> None:
    totals = msgspec.structs.replace(POOL.totals, inflight=inflight, queued=queued)
    busy = msgspec.structs.replace(POOL, totals=totals)
    found = asked(Quit(), busy, is_local=True)
    assert found.text.splitlines()[0] == told
    assert outcomes(found) == [("Yes", Quit()), ("No", None)]
    assert "q" in found.choices[0].key.split(","), "the same key again means yes"
    assert found.default.outcome is None
    assert question(Quit(), busy, is_local=False) is None


def test_quitting_an_idle_router_asks_nothing() -> None:
    totals = msgspec.structs.replace(POOL.totals, inflight=0, queued=0)
    assert question(Quit(), msgspec.structs.replace(POOL, totals=totals), is_local=True) is None
    assert question(Quit(), None, is_local=True) is None


@pytest.mark.parametrize(
    ("grace_s", "told"),
    [
        (30.0, "what has not finished in 30 s is cut."),
        (0.5, "what has not finished in 0.5 s is cut."),
        (0.0, "what has not finished by then is cut."),
        (None, "what has not finished within its grace period is cut."),
    ],
)
def test_quitting_says_how_long_running_requests_get(grace_s: float | None, told: str) -> None:
    busy = msgspec.structs.replace(POOL, shutdown_grace_s=grace_s)
    assert asked(Quit(), busy, is_local=True).text.splitlines()[-1] == (
        f"The router stops too: {told}"
    )


def every_text(count: int) -> list[str]:
    """The questions that name a number of requests, where that is `count`."""
    totals = msgspec.structs.replace(POOL.totals, inflight=count, queued=count)
    running = msgspec.structs.replace(pictures.request(5, FIRST.id, 1.0), bytes_out=count)
    cache = POOL.token_cache
    assert cache is not None
    space = msgspec.structs.replace(cache.namespaces["team-b"], trajectories=count, tokens=count)
    shown = msgspec.structs.replace(
        pool(count, 1),
        totals=totals,
        requests=(running,),
        token_cache=msgspec.structs.replace(cache, namespaces={"team-b": space}),
    )
    leaving = pool(count, 1, status="draining", is_leaving=True)
    found = [
        question(Drain(FIRST.id), pool(count), is_local=True),
        question(Quarantine(FIRST.id), shown, is_local=True),
        question(Remove(FIRST.id), shown, is_local=True),
        question(Remove(FIRST.id), pool(count), is_local=True),
        question(Remove(FIRST.id), leaving, is_local=True),
        question(Abort(running.request_id), shown, is_local=True),
        question(ClearNamespace("team-b"), shown, is_local=True),
        question(Quit(), shown, is_local=True),
    ]
    return [one.text for one in found if one is not None]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_words_agree_with_the_number(count: int) -> None:
    texts = "\n".join(every_text(count))
    assert "they" not in texts.split()
    nouns = ("request", "byte", "trajectory", "trajectories", "token")
    words = re.findall(rf"(\d+) ({'|'.join(nouns)})(s?)\b(?: of its answer (was|were))?", texts)
    assert len(words) >= 2
    for number, noun, plural, verb in words:
        assert (noun == "trajectories" or plural == "s" or noun == "trajectory") or number == "1"
        assert (number == "1") is (not plural and noun != "trajectories")
        assert verb in {"", "was" if number == "1" else "were"}
    assert ("cuts it:" in texts) is (count == 1)
    assert ("cuts them:" in texts) is (count == 2)
