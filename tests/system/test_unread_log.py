"""A router whose log nobody reads any more, as behind `serve 2>&1 | head -1`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from tests.system.rig import ROOT, prompt

pytestmark = pytest.mark.loopback


def start() -> tuple[subprocess.Popen[bytes], str]:
    """A router that has said where it listens, after which the reader of its log has gone."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "miles_router", "serve", "--log-format", "json", "--port", "0"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=writer,
    )
    os.close(writer)
    said = b""
    while b'"event": "listening"' not in said:
        piece = os.read(reader, 65_536)
        assert piece, said
        said += piece
    os.close(reader)
    return process, "http://" + said.partition(b'"url": "http://')[2].partition(b'"')[0].decode()


async def test_a_router_whose_log_is_not_read_serves_on() -> None:
    async with running_sim(SimSettings()) as sim:
        process, url = await trio.to_thread.run_sync(start)
        try:
            with trio.fail_after(30):
                async with httpx.AsyncClient(base_url=url) as client:
                    added = await client.post("/workers?wait=10", json={"url": sim.url})
                    assert (added.status_code, added.json()["status"]) == (200, "active")
                    name = added.json()["worker_id"]
                    for step, state in (("drain", "drained"), ("undrain", "active")):
                        told = await client.post(f"/workers/{name}/{step}")
                        assert told.status_code == 200, told.text
                        assert (await client.get(f"/workers/{name}")).json()["status"] == state
                    assert (await client.post("/generate", json=prompt())).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert await trio.to_thread.run_sync(lambda: process.wait(20)) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
