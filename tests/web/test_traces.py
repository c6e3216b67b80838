"""What the router asks of workers for a caller belongs to the caller's request and trace."""

from __future__ import annotations

import pytest

from tests.web.rig import open_router, open_sims

TRACE = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=1,b=2",
    "baggage": "x=y",
    "x-request-id": "r-7",
}
CALLS = [
    ("POST", "/pause_generation", {}, "/pause_generation"),
    ("POST", "/pause_generation?worker={id}", {}, "/pause_generation"),
    ("GET", "/server_info", None, "/server_info"),
    ("POST", "/abort_request", {"rid": "unknown"}, "/abort_request"),
    ("POST", "/abort_request", {"abort_all": True}, "/abort_request"),
    ("POST", "/flush_cache", None, "/flush_cache"),
    ("GET", "/engine_metrics", None, "/metrics"),
]


@pytest.mark.loopback
@pytest.mark.parametrize(("method", "target", "body", "asked"), CALLS)
async def test_a_workers_part_is_in_the_callers_trace(
    method: str, target: str, body: object, asked: str
) -> None:
    async with open_sims(2) as sims, open_router() as rig:
        workers = [rig.join(sim.url) for sim in sims]
        answer = await rig.client.request(method, target.format(id=workers[0].id), body, TRACE)
        assert (answer.status, answer.header("x-request-id")) == (200, "r-7")
        seen = [sim.worker.stats.shown()["last_requests"].get(asked) for sim in sims]
        headers = [dict(one["headers"]) for one in seen if one is not None]
        assert headers
        assert all(TRACE.items() <= one.items() for one in headers)


@pytest.mark.loopback
async def test_without_a_trace_none_is_made_up() -> None:
    async with open_sims(1) as [sim], open_router() as rig:
        rig.join(sim.url)
        answer = await rig.client.post("/flush_cache")
        headers = dict(sim.worker.stats.shown()["last_requests"]["/flush_cache"]["headers"])
        assert headers["x-request-id"] == answer.header("x-request-id")
        assert headers.keys().isdisjoint({"traceparent", "tracestate", "baggage"})
