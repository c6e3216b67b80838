"""Commands for a running router, end to end against a small HTTP server."""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from miles_router.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.loopback

WORKER: dict[str, Any] = {
    "id": "w1",
    "url": "http://127.0.0.1:1",
    "status": "active",
    "is_healthy": True,
    "load": 2,
    "inflight": 2,
}


class StubRouter:
    """A router that answers from a table and remembers what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[tuple[str, str, Any]] = []
        self.tokens: list[str | None] = []
        self.answers: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self.raw: dict[str, bytes] = {}  # answers to GET as they are sent

    def answer(self, method: str, path: str, *answers: tuple[int, Any]) -> None:
        """Give these answers in turn, the last one for ever."""
        self.answers[method, path] = list(answers)

    def next_answer(self, method: str, path: str) -> tuple[int, Any]:
        left = self.answers.get((method, path))
        if left is None:
            return 404, {"error": {"code": "not_found", "message": f"no route {path}"}}
        return left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def running_stub() -> Iterator[StubRouter]:
    class Answering(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            router.seen.append((self.command, self.path, body))
            router.tokens.append(self.headers.get("Authorization"))
            status, data = 200, router.raw.get(self.path)
            if data is None:
                status, content = router.next_answer(self.command, self.path)
                data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815  names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Keep standard error for the command under test."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    router = StubRouter(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield router
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubRouter]:
    for name in [name for name in os.environ if name.startswith("MILES_ROUTER_")]:
        monkeypatch.delenv(name)
    with running_stub() as router:
        monkeypatch.setenv("MILES_ROUTER_URL", router.url)
        yield router


def test_workers_are_listed_in_aligned_columns(
    stub: StubRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answer("GET", "/workers", (200, {"workers": [WORKER], "total": 1, "stats": {}}))
    assert main(["workers"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["ID", "URL", "STATUS", "INFLIGHT"]
    assert row.split()[:4] == ["w1", "http://127.0.0.1:1", "active", "2"]


def test_json_prints_the_answer_as_it_came(
    stub: StubRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"workers": [{**WORKER, "of_tomorrow": 1}], "total": 1, "stats": {"x": [1]}}
    stub.answer("GET", "/workers", (200, answer))
    assert main(["workers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer


CALLS: list[tuple[list[str], tuple[str, str, Any], str]] = [
    (["remove", "w1"], ("DELETE", "/workers/w1", None), "removed w1"),
    (["drain", "w1"], ("POST", "/workers/w1/drain", {"deadline_s": None}), "w1"),
    (
        ["drain", "w1", "--deadline-s", "5"],
        ("POST", "/workers/w1/drain", {"deadline_s": 5.0}),
        "w1",
    ),
    (["undrain", "w1"], ("POST", "/workers/w1/undrain", None), "w1"),
    (
        ["quarantine", "w1", "--reason", "smokes"],
        ("POST", "/workers/w1/quarantine", {"reason": "smokes"}),
        "w1",
    ),
    (["release", "w1"], ("POST", "/workers/w1/release", None), "w1"),
    (
        ["release", "http://127.0.0.1:1"],
        ("POST", "/workers/http%3A%2F%2F127.0.0.1%3A1/release", None),
        "w1",
    ),
]


@pytest.mark.parametrize(("argv", "sent", "printed"), CALLS, ids=[str(c[0]) for c in CALLS])
def test_each_command_is_one_request(
    argv: list[str],
    sent: tuple[str, str, Any],
    printed: str,
    stub: StubRouter,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stub.answer(sent[0], sent[1], (200, WORKER))
    assert main(argv) == 0
    assert stub.seen == [sent]
    assert printed in capsys.readouterr().out


def test_add_sends_url_key_labels_and_wait(
    stub: StubRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answer("POST", "/workers?wait=5", (200, WORKER | {"worker_id": "w1"}))
    argv = ["add", "http://a:1", "--wait", "5", "--worker-api-key", "k", "--label", "a=1", "b=2=3"]
    assert main(argv) == 0
    body = {"url": "http://a:1", "api_key": "k", "labels": {"a": "1", "b": "2=3"}}
    assert stub.seen == [("POST", "/workers?wait=5", body)]
    assert capsys.readouterr().out == "active w1 http://127.0.0.1:1\n"


def test_drain_can_wait_until_the_worker_is_drained(
    stub: StubRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    draining, drained = {**WORKER, "status": "draining"}, {**WORKER, "status": "drained"}
    stub.answer("POST", "/workers/w1/drain", (200, draining))
    stub.answer("GET", "/workers/w1", (200, draining), (200, drained))
    assert main(["drain", "w1", "--wait", "30"]) == 0
    assert [method for method, _, _ in stub.seen] == ["POST", "GET", "GET"]
    assert "drained" in capsys.readouterr().out


def test_drain_that_takes_too_long_fails(
    stub: StubRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    draining = {**WORKER, "status": "draining"}
    stub.answer("POST", "/workers/w1/drain", (200, draining))
    stub.answer("GET", "/workers/w1", (200, draining))
    assert main(["drain", "w1", "--wait", "0"]) == 1
    assert "(wait_timeout)" in capsys.readouterr().err


def test_snapshot_prints_readable_json(
    stub: StubRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answer("GET", "/snapshot", (200, {"workers": [], "now": 1.5}))
    assert main(["snapshot"]) == 0
    assert capsys.readouterr().out == '{\n  "workers": [],\n  "now": 1.5\n}\n'


def test_an_error_of_the_router_is_passed_on(
    stub: StubRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = {"error": {"code": "worker_not_found", "message": "no worker w9; known: w1"}}
    stub.answer("POST", "/workers/w9/drain", (404, fault))
    assert main(["drain", "w9"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "miles-router: no worker w9; known: w1 (worker_not_found)\n")


def test_tokens_come_from_flag_file_or_environment(
    stub: StubRouter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.answer("GET", "/snapshot", (200, {}))
    token = tmp_path / "token"
    token.write_text("from-file\n", encoding="utf-8")
    main(["snapshot"])
    monkeypatch.setenv("MILES_ROUTER_ADMIN_TOKEN", "from-environment")
    main(["snapshot"])
    main(["snapshot", "--admin-token-file", str(token)])
    main(["snapshot", "--admin-token", "from-flag"])
    assert stub.tokens == [
        None,
        "Bearer from-environment",
        "Bearer from-file",
        "Bearer from-flag",
    ]


def test_a_bad_token_file_is_wrong_usage(
    stub: StubRouter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["snapshot", "--admin-token-file", str(tmp_path / "nowhere")]) == 2
    assert "--admin-token-file" in capsys.readouterr().err
    assert stub.seen == []


def test_a_misspelt_variable_is_refused_here_too(
    stub: StubRouter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILES_ROUTER_ULR", "http://127.0.0.1:1")
    assert main(["workers"]) == 2
    assert "did you mean MILES_ROUTER_URL?" in capsys.readouterr().err
    assert stub.seen == []


def test_nothing_listening_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert main(["workers", "--url", url]) == 1
    assert capsys.readouterr().err == (
        f"miles-router: no router answers at {url}; start one with miles-router serve, "
        "or name another with --url (no_router)\n"
    )
