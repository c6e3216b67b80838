"""Makes the picture of the terminal UI in README: the demo's workers and rollout, seen for a while.

python examples/tui_picture.py [examples/tui.svg] [seconds]
"""

from __future__ import annotations

import asyncio  # noqa: TID251  the screens run on it
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from miles_router.demo.alive import live, router_settings
from miles_router.demo.settings import DemoSettings
from miles_router.embed import embedded_router
from miles_router.memory import settle_memory
from miles_router.tui.app import RouterTui
from miles_router.tui.commands import Drain
from miles_router.tui.screen_run import SWITCH_INTERVAL_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.embed import Embedded
    from miles_router.tui.source import Source

SIZE = (124, 34)
# Long enough for some minutes' worth of curves and events.
WATCHED_S = 90.0
LOOK_S = 0.1
BUSY_REQUESTS = 16


async def draw(router: Embedded, watched_s: float) -> str:
    """What is seen of `router` after a while, with one worker drained."""
    app = RouterTui(router.source)
    async with app.run_test(size=SIZE) as pilot:
        settle_memory()
        await asyncio.sleep(watched_s)
        # The demo kills a worker every minute or so.
        await until(lambda: states(router.source).get("quarantined"), patience_s=watched_s)
        await drain_one(router.source)
        await until(lambda: is_busy(router.source), patience_s=min(watched_s, 8.0))
        await pilot.pause()
        return app.export_screenshot(title="miles-router tui")


def states(source: Source) -> dict[str, int]:
    """How many workers are in each state."""
    shown = source.latest()
    return {} if shown is None else shown.totals.states


def is_busy(source: Source) -> bool:
    """Whether much runs, and the worker that was drained has finished."""
    shown = source.latest()
    return (
        shown is not None
        and bool(states(source).get("drained"))
        and shown.totals.inflight >= BUSY_REQUESTS
    )


async def until(holds: Callable[[], object], *, patience_s: float) -> None:
    """Return when it holds, or after a while."""
    for _ in range(int(patience_s / LOOK_S)):
        if holds():
            return
        await asyncio.sleep(LOOK_S)


async def drain_one(source: Source) -> None:
    """As the key `d` does, on the second worker that serves."""
    shown = source.latest()
    serving = () if shown is None else [one for one in shown.workers if one.is_healthy]
    if len(serving) > 1:
        await source.controls.perform(Drain(serving[1].id))


def main() -> None:
    """Write the picture to the path on the command line."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("tui.svg"))
    watched_s = float(sys.argv[2]) if len(sys.argv) > 2 else WATCHED_S
    os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
    os.environ.pop("NO_COLOR", None)
    settings = replace(router_settings(), log_level="error")
    show = partial(live, DemoSettings(workers=8, concurrency=64, prompts=24, tokens_per_s=20.0))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    thread = embedded_router(settings, is_read_only=False, beside=show)
    router = thread.start()
    try:
        target.write_text(asyncio.run(draw(router, watched_s)))
    finally:
        thread.stop("the picture is drawn")
        thread.join()
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
