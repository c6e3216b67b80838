from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from miles_router.tui.commands import (
    Abort,
    Add,
    ClearNamespace,
    Command,
    CommandRefused,
    Drain,
    Probe,
    Quarantine,
    Release,
    Remove,
    Sweep,
    Undrain,
)
from miles_router.tui.wire import call_for, fault_in, sentence_for

if TYPE_CHECKING:
    from collections.abc import Mapping

URL = "http://10.0.0.1:30000"


def worker(status: str, **fields: Any) -> dict[str, Any]:
    return {"id": "w1", "url": URL, "status": status, "reason": "", "new_field": [1], **fields}


def refusal(command: Command, status: int, body: bytes) -> str:
    with pytest.raises(CommandRefused) as caught:
        sentence_for(command, status, body)
    return str(caught.value)


def encoded(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()


def fault(message: str, code: str = "illegal_transition") -> bytes:
    return encoded({"error": {"code": code, "message": message, "state": "active"}})


@pytest.mark.parametrize(
    ("command", "method", "target", "body"),
    [
        (Drain("w1"), "POST", "/workers/w1/drain", None),
        (Undrain("w1"), "POST", "/workers/w1/undrain", None),
        (Quarantine("w1"), "POST", "/workers/w1/quarantine", None),
        (Release("w1"), "POST", "/workers/w1/release", None),
        (Probe("w1"), "POST", "/workers/w1/probe", None),
        (Remove("w1"), "DELETE", "/workers/w1", None),
        (Remove("w1", cuts=True), "DELETE", "/workers/w1?deadline_s=0", None),
        (Remove("a/b?c"), "DELETE", "/workers/a%2Fb%3Fc", None),
        (Add(URL), "POST", "/workers", {"url": URL}),
        (Abort("r 1"), "POST", "/abort_request", {"request_id": "r 1"}),
        (Sweep(), "POST", "/cache/gc", None),
        (ClearNamespace("a&b ü"), "DELETE", "/trajectories?tenant=a%26b%20%C3%BC", None),
    ],
)
def test_calls(command: Command, method: str, target: str, body: object) -> None:
    call = call_for(command)
    assert (call.method, call.target) == (method, target)
    assert (json.loads(call.body) if call.body else None) == body


@pytest.mark.parametrize("command", [Add("http://\ud800"), ClearNamespace("\ud800")])
def test_what_cannot_be_sent_is_refused(command: Command) -> None:
    with pytest.raises(CommandRefused, match="cannot be sent"):
        call_for(command)


@pytest.mark.parametrize(
    ("command", "answer", "sentence"),
    [
        (
            Drain("w1"),
            worker("draining", inflight=3),
            "10.0.0.1:30000 is draining: 3 requests in flight",
        ),
        (Drain("w1"), worker("drained"), "10.0.0.1:30000 is drained: nothing runs on it"),
        (Undrain("w1"), worker("active"), "10.0.0.1:30000 is active: it serves"),
        (
            Undrain("w1"),
            worker("quarantined", reason="still quarantined by an operator"),
            "10.0.0.1:30000 is quarantined: still quarantined by an operator",
        ),
        (
            Release("w1"),
            worker("probation"),
            "10.0.0.1:30000 is on probation: it serves when its health checks have passed",
        ),
        (
            Quarantine("w1"),
            worker("quarantined", reason="by an operator"),
            "10.0.0.1:30000 is quarantined: by an operator",
        ),
        (
            Probe("w1"),
            worker("active", last_probe={"outcome": "passed", "age_s": 0, "duration_s": 0.0123}),
            "10.0.0.1:30000 passed its check in 12 ms; it is active",
        ),
        (
            Probe("w1"),
            worker(
                "suspect", last_probe={"outcome": "bad_status", "duration_s": 2, "detail": "503"}
            ),
            "10.0.0.1:30000 failed its check (bad status, 2,000 ms): 503; it is suspect",
        ),
        (Probe("w1"), worker("joining"), "10.0.0.1:30000 was not checked; it is joining"),
        (
            Remove("w1"),
            {"status": "accepted", "worker_id": "w1", "url": URL},
            "10.0.0.1:30000 gets nothing new and goes when nothing runs on it",
        ),
        (
            Remove("w1", cuts=True),
            {"status": "accepted", "url": URL},
            "10.0.0.1:30000 is removed; what ran on it is cut",
        ),
        (
            Add(URL),
            {"status": "accepted", "worker_id": "w1", "url": URL},
            "10.0.0.1:30000 is registered; it serves when a health check has passed",
        ),
        (Abort("r1"), {"success": True, "matched": 1, "results": []}, "the request is aborted"),
        (Sweep(), {"removed_turns": 1, "cache": {}}, "garbage collection removed 1 turn"),
        (Sweep(), {"removed_turns": 0}, "garbage collection removed nothing"),
        (
            ClearNamespace("team-b"),
            {"status": "success", "deleted": 207},
            "deleted 207 trajectories of team-b",
        ),
    ],
)
def test_what_was_done(command: Command, answer: dict[str, Any], sentence: str) -> None:
    assert sentence_for(command, 200, encoded(answer)) == sentence


@pytest.mark.parametrize("command", [Drain("w1"), Add(URL), Abort("r1"), Sweep()])
def test_a_refusal_is_told_in_the_routers_words(command: Command) -> None:
    message = "a worker that is active cannot take the step 'undrain'"
    assert refusal(command, 409, fault(message)) == message


def test_refusals_in_other_shapes() -> None:
    assert fault_in(400, b'{"error": "worker_url is required"}') == "worker_url is required"
    for body in (b"", b"<html>", b"{}", b"[]", b'{"error": 3}', b"\xff"):
        assert fault_in(502, body) == "the answer was 502, which is not what a miles-router says"


@pytest.mark.parametrize(
    "command", [Drain("w1"), Add(URL), Probe("w1"), Sweep(), ClearNamespace("a"), Remove("w1")]
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"\xff\xff"])
def test_an_answer_that_is_not_understood_is_no_success(command: Command, body: bytes) -> None:
    assert "does not understand its answer" in refusal(command, 200, body)


def test_an_abort_that_came_too_late() -> None:
    answer = encoded({"success": True, "matched": 0, "results": []})
    assert refusal(Abort("r1"), 200, answer) == "this request does not run any more"


def test_an_abort_that_the_worker_did_not_take() -> None:
    failed = {"worker": "w1", "error": {"code": "worker_failed", "message": "connection refused"}}
    answer = encoded({"success": False, "matched": 1, "results": [failed]})
    told = "the worker did not take the abort: connection refused"
    assert refusal(Abort("r1"), 502, answer) == told
    answer = encoded({"success": False, "matched": 1, "results": [{"worker": "w1", "status": 500}]})
    assert refusal(Abort("r1"), 502, answer) == "the worker did not take the abort: it refused"


def test_an_abort_that_something_else_answers() -> None:
    assert refusal(Abort("r1"), 502, b"<html>Bad Gateway").startswith("the answer was 502")
    assert refusal(Abort("r1"), 200, b"{}").startswith("the answer was 200")
