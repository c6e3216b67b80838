from __future__ import annotations

import base64

from tests.sim.raw_client import open_client


async def test_requests_are_shown_exactly_as_they_came() -> None:
    async with open_client() as client:
        headers = {"X-One": "1", "x-one": "2"}
        await client.request("POST", "/generate?a=%2F&a", {"text": "x"}, headers)
        await client.get("/model_info")
        await client.get("/sim/fault")
        stats = (await client.get("/sim/stats")).json()
    assert stats["requests"] == {"/generate": 1, "/model_info": 1}
    assert stats["last_request"]["target"] == "/model_info"
    shown = stats["last_requests"]["/generate"]
    assert (shown["method"], shown["target"]) == ("POST", "/generate?a=%2F&a")
    assert shown["headers"][:3] == [["Host", "worker"], ["X-One", "1"], ["x-one", "2"]]
    assert base64.b64decode(shown["body_base64"]) == b'{"text": "x"}'
    assert shown["body_bytes"] == 13


async def test_unknown_paths_do_not_fill_the_memory() -> None:
    async with open_client() as client:
        for number in range(300):
            await client.get(f"/nothing/{number}")
        stats = (await client.get("/sim/stats")).json()
    assert len(stats["requests"]) <= 257
    assert stats["requests"]["(other)"] == 44
