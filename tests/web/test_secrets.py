"""No secret and no prompt leaves by a log line, a view or an error."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pytest
import trio

from miles_router.core.log_ring import LogRing
from miles_router.log import make_log
from miles_router.sim import SimSettings
from miles_router.tasks import health
from tests.web.rig import ADMIN, Rig, bearer, open_router, open_sims, until

if TYPE_CHECKING:
    from tests.web.asgi_client import Answer

PROMPT, WORKER_KEY, RED = "PROMPT-nobody-reads", "WORKERKEY-1234567", "REDKEY-1234567890"
WRONG, PASSWORD = "WRONGKEY-123456789", "URLPASSWORD-1234"
SECRETS = (PROMPT, WORKER_KEY, RED, ADMIN, WRONG, PASSWORD)
BODY = {"text": PROMPT, "sampling_params": {"max_new_tokens": 2, "ignore_eos": True}}
FAULTS = ("reset", "garbage", "truncate", "status=500", "close")


def leaks(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


async def live(rig: Rig, url: str) -> list[Answer]:
    """Requests of every kind, good and failing; returns the answers that the router made itself."""
    admin, red, nobody = (rig.as_caller(one) for one in (ADMIN, RED, WRONG))
    good = {"url": url, "api_key": WORKER_KEY, "labels": {"rack": "a"}}
    own = [
        await admin.post("/workers?wait=5", good),
        await admin.post("/workers", {"url": f"http://u:{PASSWORD}@127.0.0.1:1"}),
        await admin.post(f"/add_worker?url=http://u:{PASSWORD}@127.0.0.1:1"),
        await admin.post("/workers", {"url": url, "api_key": f"{WORKER_KEY}\n"}),
        await admin.post("/add_worker", f'{{"api_key": "{WORKER_KEY}'.encode()),
        await nobody.post("/generate", BODY),
        await red.get("/snapshot"),
        await red.post("/finish_session", {"x": PROMPT}),
        await admin.post("/abort_request", {"text": PROMPT}),
    ]
    for _ in range(len(FAULTS) + 1):
        await red.post("/generate", BODY)
    await red.post("/v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}]})
    await red.post("/generate", json.dumps(BODY).encode() + b"}")
    own += [
        await admin.get("/snapshot"),
        await admin.get("/workers"),
        await admin.get("/metrics"),
        await admin.get("/engine_metrics"),
        await admin.post("/flush_cache"),
    ]
    return own


@pytest.mark.loopback
@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("middleware", [(), ("tests.plugins.samples:Plain",)])
async def test_nothing_secret_is_logged_or_shown(
    log_format: Literal["console", "json"],
    middleware: tuple[str, ...],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ring = LogRing()
    log = make_log(log_format, "debug", ring=ring)
    sims = SimSettings(api_key=WORKER_KEY, fault=FAULTS)
    settings: dict[str, Any] = {
        "admin_token": ADMIN,
        "api_keys": (f"red={RED}",),
        "retries": 0,
        "queue_timeout_s": 0.5,
        "middleware": middleware,
    }
    async with open_sims(1, sims) as [sim], open_router(log=log, **settings) as rig:
        await rig.nursery.start(partial(health.run, rig.services))
        own = await live(rig, sim.url)
        assert own[0].status == 200  # the worker did need its key
        with trio.fail_after(5):
            await until(lambda: sim.worker.stats.requests["/generate"] >= len(FAULTS))
        assert "api_keys" in repr(rig.services.settings)
        assert leaks(repr(rig.services.settings)) == []
        assert leaks(repr(next(iter(rig.services.pool.workers.values())).spec)) == []
    for answer in own:
        assert leaks(answer.body.decode()) == []
        assert leaks(repr(answer.headers)) == []
    logged = capfd.readouterr()
    lines = logged.err.splitlines()
    assert sum("request" in line for line in lines) > 10  # debug lines are there
    assert any("answer_cut" in line for line in lines)
    assert leaks(logged.err + logged.out + caplog.text) == []
    assert len(ring.since(0)) == ring.last_seq > 10
    assert leaks("".join(line.text for line in ring.since(0))) == []
    if log_format == "json":
        assert all(isinstance(json.loads(line), dict) for line in lines)


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_a_traceback_shows_no_values(
    log_format: Literal["console", "json"], capfd: pytest.CaptureFixture[str]
) -> None:
    """The frames of a failed request hold its headers and body."""
    ring = LogRing()
    log = make_log(log_format, "debug", ring=ring)
    async with open_router(log=log, middleware=("tests.plugins.samples:RaisesBefore",)) as rig:
        headers = {**bearer(WRONG), "X-Note": PASSWORD}
        answer = await rig.client.request("POST", "/generate", BODY, headers)
        assert answer.status == 500
    logged = capfd.readouterr().err
    assert "LookupError" in logged
    assert "samples.py" in logged
    assert leaks(logged) == []
    kept = "".join(line.text for line in ring.since(0))
    assert ("LookupError" in kept, leaks(kept)) == (True, [])
    if log_format == "json":
        assert all(isinstance(json.loads(line), dict) for line in logged.splitlines())


def test_the_level_holds_lines_back(capfd: pytest.CaptureFixture[str]) -> None:
    log = make_log("json", "warning")
    log.info("quiet")
    log.warning("loud", worker="http://x")
    [line] = capfd.readouterr().err.splitlines()
    value = json.loads(line)
    assert (value["event"], value["level"], value["worker"]) == ("loud", "warning", "http://x")
    assert value["timestamp"].endswith("Z")
