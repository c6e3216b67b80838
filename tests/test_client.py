"""The typed client against answers made for the test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from miles_router.client import RouterCallFailed, RouterClient

if TYPE_CHECKING:
    from collections.abc import Callable

WORKER: dict[str, Any] = {
    "id": "w1",
    "url": "http://127.0.0.1:1",
    "status": "active",
    "is_healthy": True,
    "load": 2,
    "inflight": 2,
    "weight_version": "v3",
    "served": 10,
    "errors": 1,
    "failures_in_row": 0,
    "last_probe": {"outcome": "ok", "age_s": 1.5, "detail": None},
    "labels": {"rack": "a"},
    "worker_type": "regular",
    "since_s": 12.0,
    "reason": None,
    "a_field_of_tomorrow": [1],
}


class Stub:
    """Answers every call with `answer` and remembers the requests."""

    def __init__(self, answer: httpx.Response | Callable[[httpx.Request], httpx.Response]) -> None:
        self.answer = answer
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.answer(request) if callable(self.answer) else self.answer

    def client(self, **more: Any) -> RouterClient:
        return RouterClient("http://router:30000/", transport=httpx.MockTransport(self), **more)

    @property
    def sent(self) -> tuple[str, str, Any]:
        """Method, raw target and decoded body of the last request."""
        last = self.seen[-1]
        body = json.loads(last.content) if last.content else None
        return last.method, last.url.raw_path.decode(), body


def test_workers_are_typed_and_unknown_fields_ignored() -> None:
    stub = Stub(httpx.Response(200, json={"workers": [WORKER], "total": 1, "stats": {"x": 1}}))
    with stub.client() as client:
        found = client.workers()
        assert json.loads(client.last_body)["workers"][0]["a_field_of_tomorrow"] == [1]
    assert (found.total, found.stats) == (1, {"x": 1})
    worker = found.workers[0]
    assert (worker.id, worker.inflight, worker.labels) == ("w1", 2, {"rack": "a"})
    assert worker.last_probe is not None
    assert worker.last_probe.outcome == "ok"
    assert stub.sent == ("GET", "/workers", None)


ACTIONS: list[tuple[Callable[[RouterClient], object], tuple[str, str, Any]]] = [
    (lambda c: c.worker("w1"), ("GET", "/workers/w1", None)),
    (lambda c: c.worker("http://a:1/"), ("GET", "/workers/http%3A%2F%2Fa%3A1%2F", None)),
    (lambda c: c.drain("w1"), ("POST", "/workers/w1/drain", {"deadline_s": None})),
    (lambda c: c.drain("w1", deadline_s=9.5), ("POST", "/workers/w1/drain", {"deadline_s": 9.5})),
    (lambda c: c.undrain("w1"), ("POST", "/workers/w1/undrain", None)),
    (lambda c: c.quarantine("w1", reason="x"), ("POST", "/workers/w1/quarantine", {"reason": "x"})),
    (lambda c: c.release("w1"), ("POST", "/workers/w1/release", None)),
    (lambda c: c.remove("w1"), ("DELETE", "/workers/w1", None)),
    (lambda c: c.remove("w1", deadline_s=0), ("DELETE", "/workers/w1?deadline_s=0", None)),
    (lambda c: c.remove("w1", deadline_s=2.5), ("DELETE", "/workers/w1?deadline_s=2.5", None)),
    (lambda c: c.probe("w1"), ("POST", "/workers/w1/probe", None)),
    (lambda c: c.snapshot(), ("GET", "/snapshot", None)),
]


@pytest.mark.parametrize(("act", "sent"), ACTIONS, ids=[str(sent[1]) for _, sent in ACTIONS])
def test_each_call_is_this_request(
    act: Callable[[RouterClient], object], sent: tuple[str, str, Any]
) -> None:
    stub = Stub(httpx.Response(200, json=WORKER))
    with stub.client() as client:
        act(client)
    assert stub.sent == sent


def test_adding_sends_only_what_was_given() -> None:
    stub = Stub(
        httpx.Response(
            202,
            json={"status": "accepted", "worker_id": "w9", "url": "http://a:1", "location": "/x"},
        )
    )
    with stub.client() as client:
        added = client.add("http://a:1")
        assert stub.sent == ("POST", "/workers", {"url": "http://a:1"})
        client.add("http://a:1", api_key="k", labels={"rack": "a"}, wait_s=2.5)
    assert (added.worker_id, added.status, added.location) == ("w9", "accepted", "/x")
    body = {"url": "http://a:1", "api_key": "k", "labels": {"rack": "a"}}
    assert stub.sent == ("POST", "/workers?wait=2.5", body)


def test_a_probe_is_given_the_time_that_it_may_take() -> None:
    stub = Stub(httpx.Response(200, json=WORKER))
    with stub.client(timeout_s=3.0) as client:
        assert client.probe("w1").id == "w1"
    assert stub.seen[0].extensions["timeout"]["read"] == 63.0


def test_waiting_for_a_worker_extends_the_timeout() -> None:
    stub = Stub(httpx.Response(200, json=WORKER | {"worker_id": "w1"}))
    with stub.client(timeout_s=3.0) as client:
        assert client.add("http://a:1", wait_s=60.0).worker_id == "w1"
    assert stub.seen[0].extensions["timeout"]["read"] == 63.0
    assert stub.seen[0].extensions["timeout"]["connect"] == 5.0


@pytest.mark.parametrize(("admin_token", "header"), [(None, None), ("hunter2", "Bearer hunter2")])
def test_the_admin_token_is_sent_as_bearer(admin_token: str | None, header: str | None) -> None:
    stub = Stub(httpx.Response(200, json={}))
    with stub.client(admin_token=admin_token) as client:
        client.snapshot()
    assert stub.seen[0].headers.get("Authorization") == header


def test_an_error_answer_keeps_code_message_and_status() -> None:
    fault = {"error": {"code": "worker_not_found", "message": "no worker w1", "known": ["w2"]}}
    with Stub(httpx.Response(404, json=fault)).client() as client:
        with pytest.raises(RouterCallFailed) as caught:
            client.drain("w1")
        assert json.loads(client.last_body) == fault
    failed = caught.value
    assert (failed.code, failed.message, failed.status) == ("worker_not_found", "no worker w1", 404)
    assert str(failed) == "no worker w1"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, text="<html>"),
        httpx.Response(500, json={"detail": "x"}),
        httpx.Response(200, text="hello"),
        httpx.Response(302, headers={"Location": "http://elsewhere/"}),
    ],
)
def test_what_is_no_router_is_called_so(answer: httpx.Response) -> None:
    with Stub(answer).client() as client, pytest.raises(RouterCallFailed) as caught:
        client.workers()
    assert caught.value.code == "not_a_router"
    assert caught.value.status == answer.status_code


@pytest.mark.parametrize(
    ("error", "code", "hint"),
    [
        (httpx.ConnectError("refused"), "no_router", "start one with miles-router serve"),
        (httpx.ConnectTimeout("slow"), "no_router", "http://router:30000"),
        (httpx.ReadTimeout("slow"), "router_timeout", "did not answer in time"),
        (httpx.RemoteProtocolError("cut"), "call_failed", "cut"),
    ],
)
def test_a_call_without_an_answer_says_why(error: Exception, code: str, hint: str) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    with Stub(fail).client() as client, pytest.raises(RouterCallFailed) as caught:
        client.workers()
    assert (caught.value.code, caught.value.status) == (code, None)
    assert hint in caught.value.message


@pytest.mark.parametrize("url", ["", "foo", "http://", "http://[zz", "ftp://a", "http://a:0"])
def test_what_is_no_url_is_refused_before_any_call(url: str) -> None:
    with pytest.raises(RouterCallFailed, match="write http://HOST:PORT") as caught:
        RouterClient(url)
    assert caught.value.code == "bad_url"


def test_waiting_asks_until_the_status_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter(["draining", "draining", "drained"])
    monkeypatch.setattr("miles_router.client.time.sleep", lambda _: None)
    stub = Stub(lambda _: httpx.Response(200, json={**WORKER, "status": next(states)}))
    with stub.client() as client:
        assert client.wait_for("w1", "drained", timeout_s=30.0).status == "drained"
    assert len(stub.seen) == 3


def test_waiting_ends_with_what_still_runs() -> None:
    stub = Stub(httpx.Response(200, json={**WORKER, "status": "draining"}))
    with stub.client() as client, pytest.raises(RouterCallFailed, match="2 requests") as caught:
        client.wait_for("w1", "drained", timeout_s=0.0)
    assert caught.value.code == "wait_timeout"


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.drain("w1", deadline_s=float("nan")),
        lambda client: client.drain("w1", deadline_s=float("inf")),
        lambda client: client.quarantine("w1", reason="\udcff"),
        lambda client: client.wait_for("w1", "drained", timeout_s=float("nan")),
    ],
)
def test_what_no_request_can_carry_is_not_sent(call: Callable[[RouterClient], object]) -> None:
    stub = Stub(httpx.Response(200, json=WORKER))
    with pytest.raises(RouterCallFailed) as caught, stub.client() as client:
        call(client)
    assert caught.value.code == "bad_request"
    assert stub.seen == []


@pytest.mark.parametrize("token", ["\xfc", "\u20ac", "\udcff"])
def test_a_token_that_no_header_can_carry_is_one_failure(token: str) -> None:
    stub = Stub(httpx.Response(200, json={}))
    with pytest.raises(RouterCallFailed) as caught, stub.client(admin_token=token) as client:
        client.snapshot()
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/\x01", "http://h:1/" + "x" * 70_000])
def test_a_url_that_httpx_refuses_is_bad(url: str) -> None:
    with pytest.raises(RouterCallFailed) as caught:
        RouterClient(url)
    assert caught.value.code == "bad_url"


def test_a_name_that_is_no_text_is_sent_as_its_bytes() -> None:
    stub = Stub(httpx.Response(200, json=WORKER))
    with stub.client() as client:
        client.worker("\udcff")
    assert stub.seen[0].url.raw_path == b"/workers/%FF"
