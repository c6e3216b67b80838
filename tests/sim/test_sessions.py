"""Sessions that a worker is told to open and to close."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.raw_client import open_client

CAPACITY = {"capacity_of_str_len": 1000}


async def test_a_session_gets_the_id_it_asks_for_or_one_of_its_own() -> None:
    async with open_client() as client:
        assert (await client.post("/open_session", {**CAPACITY, "session_id": "s"})).json() == "s"
        made = (await client.post("/open_session", CAPACITY)).json()
        assert isinstance(made, str)
        assert len(made) == 32


async def test_an_open_session_is_not_opened_again_before_it_is_closed() -> None:
    body = {**CAPACITY, "session_id": "s"}
    async with open_client() as client:
        await client.post("/open_session", body)
        again = await client.post("/open_session", body)
        assert again.status == 400
        assert "still open" in again.json()["error"]["message"]
        closed = await client.post("/close_session", {"session_id": "s"})
        assert (closed.status, closed.body) == (200, b"")
        assert (await client.post("/open_session", body)).status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/open_session", {}),
        ("/open_session", {"capacity_of_str_len": "many"}),
        ("/open_session", {**CAPACITY, "session_id": 5}),
        ("/close_session", {}),
    ],
)
async def test_what_is_missing_is_400(path: str, body: dict[str, Any]) -> None:
    async with open_client() as client:
        found = await client.post(path, body)
        assert (found.status, found.json()["object"]) == (400, "error")
