from __future__ import annotations

import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from tests.sim.raw_client import connected


@pytest.mark.loopback
async def test_workers_share_a_loop_and_end_with_their_blocks() -> None:
    with trio.fail_after(20):
        async with running_sim(SimSettings(weight_version="1")) as first:
            async with (
                running_sim(SimSettings(weight_version="2")) as second,
                connected(first.port) as one,
                connected(second.port) as two,
            ):
                infos = [(await client.get("/model_info")).json() for client in (one, two)]
                assert [info["weight_version"] for info in infos] == ["1", "2"]
                assert second.url == f"http://127.0.0.1:{second.port}"
                second.worker.engine.set_weight_version("3")
                assert (await two.get("/model_info")).json()["weight_version"] == "3"
            with pytest.raises(OSError, match="connect"):
                async with connected(second.port):
                    raise AssertionError("the worker should be gone")
            async with connected(first.port) as one:
                assert (await one.get("/health")).status == 200
