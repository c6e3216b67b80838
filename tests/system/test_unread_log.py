"""A router whose log nobody reads any more, as behind `serve 2>&1 | head -1`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial

import httpx
import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from tests.system.rig import ROOT, prompt

pytestmark = pytest.mark.loopback


def start(*flags: str, leaves: bool = True) -> tuple[subprocess.Popen[bytes], str]:
    """A router that has said where it listens, after which nobody reads its log any more."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "miles_router",
            "serve",
            "--log-format",
            "json",
            "--port",
            "0",
            *list(flags),
        ],
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
    if leaves:
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


async def test_a_reader_that_is_there_and_does_not_read_stops_nothing() -> None:
    begin = partial(start, "--log-level", "debug", leaves=False)
    process, url = await trio.to_thread.run_sync(begin)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=5) as client:
            with trio.fail_after(60):
                # A pipe holds 64 KiB: a few hundred lines.
                for _ in range(1_500):
                    assert (await client.get("/livez")).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(lambda: process.wait(20)) == 0
    finally:
        process.kill()
        process.wait()
