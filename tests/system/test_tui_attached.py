"""The terminal UI on a router in another process."""

from __future__ import annotations

import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.sim import running_sim
from tests.doubles.pseudo_terminal import on_terminal
from tests.system.rig import QUICK_HEALTH, serving
from tests.system.tui_rig import BROKEN, TUI, tells_what_is_loaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.doubles.pseudo_terminal import PseudoTerminal

pytestmark = pytest.mark.loopback

TOKEN = "s3cret-token"


@asynccontextmanager
async def attached(url: str, log: Path, *flags: str) -> AsyncIterator[PseudoTerminal]:
    command = (*TUI, "--attach", url, "--log-file", str(log), *flags)
    async with on_terminal(*command) as terminal:
        await terminal.until("Workers")
        yield terminal


async def test_it_shows_steers_and_leaves_the_router_alone(tmp_path: Path) -> None:
    async with (
        running_sim() as one,
        running_sim() as two,
        serving(*QUICK_HEALTH, workers=[one.url, two.url]) as router,
        attached(router.url, tmp_path / "log") as terminal,
    ):
        await terminal.until("● active")
        await terminal.until("joined")
        terminal.press("d")
        await terminal.until("□ drained")
        assert "drained" in {await router.state_of(one.url), await router.state_of(two.url)}
        terminal.press("u")
        await router.wait_state(one.url, "active")
        await router.wait_state(two.url, "active")
        terminal.press("q")
        assert await terminal.exit_code() == 0
        assert terminal.is_restored
        assert router.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_the_screens_only(number: signal.Signals, tmp_path: Path) -> None:
    async with serving() as router, attached(router.url, tmp_path / "log") as terminal:
        await terminal.until("No workers yet")
        terminal.process.send_signal(number)
        assert await terminal.exit_code() == 0
        assert terminal.is_restored
        assert router.process.poll() is None


async def test_it_survives_a_restart_of_the_router(tmp_path: Path) -> None:
    async with running_sim() as sim, serving(workers=[sim.url]) as first:
        port, url = str(first.port), first.url
        async with attached(url, tmp_path / "log") as terminal:
            await terminal.until("● active")
            first.terminate()
            assert await first.exit_code() == 0
            await terminal.until("DISCONNECTED")
            assert sim.url.removeprefix("http://") in terminal.text, "what was known stays"
            async with serving("--port", port, workers=[sim.url]):
                await terminal.until(lambda: "DISCONNECTED" not in terminal.text)
                await terminal.until("● live")
                terminal.press("q")
                assert await terminal.exit_code() == 0
                assert terminal.is_restored


async def test_a_router_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    async with serving() as router:
        port = router.port
    async with attached(f"http://127.0.0.1:{port}", tmp_path / "log") as terminal:
        await trio.sleep(1)
        async with serving("--port", str(port)):
            await terminal.until("● live")
            terminal.press("q")
            assert await terminal.exit_code() == 0


async def test_the_admin_token_opens_what_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    await trio.Path(path).write_text(TOKEN, encoding="ascii")
    async with running_sim() as sim, serving("--admin-token-file", str(path)) as router:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        added = await router.post("/workers?wait=10", {"url": sim.url}, bearer)
        assert added.status == 200
        async with attached(router.url, tmp_path / "a") as terminal:
            await terminal.until("read-only")
            terminal.press("q")
            assert await terminal.exit_code() == 0
        flags = ("--admin-token-file", str(path))
        async with attached(router.url, tmp_path / "b", *flags) as terminal:
            await terminal.until("● active")
            terminal.press("q")
            assert await terminal.exit_code() == 0
        router.terminate()
        assert await router.exit_code() == 0


async def test_nothing_of_a_router_is_loaded_and_no_client_before_the_first_frame(
    tmp_path: Path,
) -> None:
    router_parts = {
        "miles_router.app", "miles_router.net", "miles_router.web", "miles_router.tui.bridge",
        "numpy", "quart", "hypercorn", "structlog", "prometheus_client", "httptools",
    }  # fmt: skip
    heavy = tells_what_is_loaded(router_parts | {"trio", "httpcore"})
    async with serving() as router:
        command = (sys.executable, "-c", BROKEN, heavy, "tui", "--attach", router.url)
        async with on_terminal(*command, "--log-file", str(tmp_path / "log")) as terminal:
            await terminal.until("● live")
            terminal.press("q")
            assert await terminal.exit_code() == 0
            # The HTTP client has trio in it, whatever it runs on.
            assert "LOADED first [] at the end ['httpcore', 'trio']" in terminal.after
