"""A router is no worker: requests would go round in a circle."""

from __future__ import annotations

import pytest

from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import Worker, WorkerSpec
from miles_router.errors import NotAWorker
from miles_router.net.call import Reply
from miles_router.net.probe import _refuse_router

WORKER = Worker(id="w1", spec=WorkerSpec(url=parse_worker_url("http://127.0.0.1:1")), added_at=0.0)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, [], b'{"status":"ok","healthy_workers":1,"total_workers":1}'),
        Reply(200, [(b"x-miles-worker", b"w2")], b'{"model_path":"m"}'),
    ],
    ids=["its health", "what it relays"],
)
def test_the_answers_of_a_router_are_refused(reply: Reply) -> None:
    with pytest.raises(NotAWorker, match="is a router"):
        _refuse_router(WORKER, reply)


@pytest.mark.parametrize("body", [b"", b"ok", b"{}", b'{"model_path":"m"}', b"[1]"])
def test_the_answers_of_a_worker_are_not(body: bytes) -> None:
    _refuse_router(WORKER, Reply(200, [(b"content-type", b"application/json")], body))
