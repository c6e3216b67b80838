from __future__ import annotations

import pytest

from miles_router.sim import SimSettings
from tests.sim.raw_client import open_client


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic key"}],
)
async def test_a_key_is_asked_for(headers: dict[str, str]) -> None:
    async with open_client(SimSettings(api_key="key")) as client:
        found = await client.request("GET", "/model_info", headers=headers)
        assert (found.status, found.json()) == (401, {"error": "Unauthorized"})


async def test_the_right_key_opens_and_health_needs_none() -> None:
    async with open_client(SimSettings(api_key="key")) as client:
        headers = {"authorization": "bearer key"}
        assert (await client.request("GET", "/model_info", headers=headers)).status == 200
        for path in ("/health", "/health_generate", "/ready", "/metrics", "/sim/stats"):
            assert (await client.get(path)).status == 200
