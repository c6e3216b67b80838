from __future__ import annotations

import pytest

from tests.sim.raw_client import open_client


@pytest.mark.parametrize("body", [b"[]", b"7", b"", b"{", b'"\xff"'])
async def test_control_routes_want_a_json_object(body: bytes) -> None:
    async with open_client() as client:
        found = await client.post("/pause_generation", body)
        assert found.status == 400
        assert found.json()["object"] == "error"
