"""The life of the process: starting, refusing to start, ending."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from tests.sim.raw_client import ConnectionEnded
from tests.system.rig import (
    ROOT,
    Router,
    eventually,
    prompt,
    read_chunks,
    serving,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


pytestmark = pytest.mark.loopback

SLOW = SimSettings(tokens_per_s=40)


async def run_serve(*flags: str) -> tuple[int, str]:
    """A `serve` that is expected to end by itself: its exit code and its words."""
    command = [sys.executable, "-m", "miles_router", "serve", *flags]
    with trio.fail_after(20):
        done = await trio.run_process(
            command, cwd=ROOT, check=False, capture_stderr=True, stdin=subprocess.DEVNULL
        )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_running_requests_finish_before_the_process_ends(number: signal.Signals) -> None:
    async with running_sim(SLOW) as sim, serving(workers=[sim.url]) as router:
        async with router.connected() as whole, router.connected() as streamed:
            await whole.send("POST", "/generate", prompt(tokens=40))
            await streamed.send("POST", "/generate", prompt(tokens=40, stream=True))
            await router.wait_inflight(2)
            async with router.connected() as idle:
                assert (await idle.get("/readyz")).status == 200
                router.process.send_signal(number)
                with trio.fail_after(3):
                    assert await idle.rest() == b"", "idle connections are closed at once"
            with trio.fail_after(5):
                assert (await whole.receive()).status == 200
                assert len((await streamed.receive()).events()) > 1
            with pytest.raises(OSError, match=r".*"):
                await router.call("GET", "/livez")
        assert await router.exit_code() == 0
        assert len(router.events("stopped")) == 1


async def test_a_busy_connection_learns_that_the_router_stops() -> None:
    async with running_sim(SLOW) as sim, serving(workers=[sim.url]) as router:
        async with router.connected() as client:
            await client.send("POST", "/generate", prompt(tokens=40))
            await router.wait_inflight(1)
            router.terminate()
            with trio.fail_after(5):
                assert (await client.receive()).status == 200
                assert await client.rest() == b""
        assert await router.exit_code() == 0


@pytest.mark.parametrize("path", ["/update_weights_from_disk", "/flush_cache"])
async def test_calls_to_the_router_and_to_engines_finish_too(path: str) -> None:
    async with running_sim() as sim, serving(workers=[sim.url]) as router:
        sim.worker.add_fault(f"slow=0.3:path={path},bytes=4")  # more than two seconds in all
        async with router.connected() as client, router.connected() as watching:
            await watching.send("GET", "/events")  # never ends, and is not waited for
            await watching.head()
            await client.send("POST", path, {"model_path": "m"})
            await wait_until(lambda: sim.worker.stats.requests[path])
            router.terminate()
            began_at = trio.current_time()
            with trio.fail_after(15):
                answer = await client.receive()
            assert trio.current_time() - began_at > 1.5
            assert (answer.status, answer.json()["results"][0]["status"]) == (200, 200)
            with trio.fail_after(5):
                assert await router.exit_code() == 0
        assert router.events("shutting_down")[0]["running"] == 1


@pytest.mark.parametrize("is_hurried", [False, True])
async def test_what_outlasts_the_grace_or_a_second_signal_is_cut(is_hurried: bool) -> None:
    grace_s = "30" if is_hurried else "0.4"
    async with running_sim(SLOW) as sim:
        async with serving("--shutdown-grace-s", grace_s, workers=[sim.url]) as router:
            async with router.connected() as whole, router.connected() as streamed:
                await whole.send("POST", "/generate", prompt(tokens=2000, rid="w"))
                await streamed.send("POST", "/generate", prompt(tokens=2000, stream=True, rid="s"))
                await streamed.head()
                await router.wait_inflight(2)
                router.terminate()
                if is_hurried:
                    await trio.sleep(0.2)
                    router.terminate()
                with pytest.raises(ConnectionEnded):
                    await read_chunks(streamed)
                with trio.fail_after(5):
                    answer = await whole.receive()
                assert (answer.status, answer.json()["error"]["code"]) == (503, "shutting_down")
            with trio.fail_after(8):
                assert await router.exit_code() == 0
        assert {one["rid"] for one in sim.worker.stats.abort_requests} == {"w", "s"}


async def test_a_client_that_reads_nothing_does_not_keep_the_process() -> None:
    async with (
        running_sim() as sim,
        serving("--shutdown-grace-s", "0.3", workers=[sim.url]) as router,
        router.connected() as client,
    ):
        await client.send("GET", "/sim/bytes?size=67000000")
        await router.wait_inflight(1)
        router.terminate()
        with trio.fail_after(8):
            assert await router.exit_code() == 0


async def test_readyz_says_whether_a_worker_was_probed() -> None:
    async with running_sim() as sim, serving() as router:
        assert (await router.call("GET", "/livez")).status == 200
        assert (await router.call("GET", "/readyz")).status == 503
        await router.post("/workers?wait=5", {"url": sim.url})
        assert (await router.call("GET", "/readyz")).status == 200


async def test_the_default_port_can_be_taken_again_at_once() -> None:
    async with serving() as first:
        port = str(first.port)
        async with first.connected() as client:
            assert (await client.get("/livez")).status == 200
            first.terminate()
            assert await first.exit_code() == 0
    async with serving("--port", port) as second:
        assert second.port == int(port)


async def test_a_taken_port_is_one_line_and_no_traceback(router: Router) -> None:
    code, said = await run_serve("--port", str(router.port))
    assert code in {1, 2}
    assert said.startswith("miles-router: cannot listen on")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--host", "0.0.0.0"), "admin"),
        (("--worker", "not a url"), "worker"),
        (("--worker", "http://127.0.0.1:1/path"), "worker"),
        (("--worker", "http://8.8.8.8:80"), "worker"),
        (("--worker", "http://169.254.169.254"), "worker"),
        (("--middleware", "no.such:Thing"), "no.such"),
        (("--middleware", "nonsense"), "middleware"),
        (("--config", "/no/such/file.toml"), "/no/such/file.toml"),
        (("--retries", "-1"), "retries"),
        (("--nonsense", "1"), "--nonsense"),
        (("--policy", "best"), "policy"),
    ],
)
async def test_what_cannot_work_is_refused_in_one_line(flags: Sequence[str], words: str) -> None:
    code, said = await run_serve("--port", "0", *flags)
    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith("miles-router: ")
    assert words in said


async def test_an_admin_token_allows_every_address_and_guards_the_pool() -> None:
    env: dict[str, Any] = {"MILES_ROUTER_ADMIN_TOKEN": "s3cret-token"}
    async with running_sim() as sim:
        named = ("--host", "0.0.0.0", "--worker", sim.url)
        router = await trio.to_thread.run_sync(lambda: Router(*named, env=env))
        try:
            auth = {"Authorization": "Bearer s3cret-token"}
            assert (await router.call("GET", "/snapshot")).status == 401
            assert (await router.call("GET", "/snapshot", headers=auth)).status == 200
            assert (await router.post("/add_worker?url=http://127.0.0.1:1", {})).status == 401
            assert (await router.post("/pause_generation", {})).status == 401
            assert (await router.call("POST", "//pause_generation")).status == 401
            assert (await router.call("POST", "/x/../%70ause_generation/")).status == 401

            async def is_ready() -> bool:
                return (await router.call("GET", "/readyz")).status == 200

            await eventually(is_ready)
            answer = await router.call("GET", "/sim/echo", headers=auth)
            assert "s3cret" not in answer.body.decode()
            assert (await router.post("/generate", prompt())).status == 200
            assert "s3cret" not in router.said()
            router.terminate()
            assert await router.exit_code() == 0
        finally:
            router.close()
