"""The demonstration in the terminal UI: workers, a rollout without an end, and what goes wrong.

Decides what there is to see. Rounds of dialogues follow one another as in training, with new
weights between them; now and then a worker is killed and comes back, or is drained for a while.
Nothing is checked here (`run` does that), and whoever watches may steer at the same time: a call
that the router refuses is left at that.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import httpx
import trio

from miles_router.config import Settings
from miles_router.demo import plan
from miles_router.demo.rollout import Rollout, open_client
from miles_router.demo.tally import Tally
from miles_router.embed import run_with_screens
from miles_router.sim.fleet import open_fleet
from miles_router.sim.settings import SimSettings
from miles_router.sim.tokenizer import tokenizer_dir
from miles_router.tui.look import Look
from miles_router.tui.terminal import open_terminal

if TYPE_CHECKING:
    from miles_router.demo.settings import DemoSettings
    from miles_router.sim.fleet import Fleet

FIRST_INCIDENT_S = 12.0
BETWEEN_INCIDENTS_S = 15.0
# Long enough to be seen, and for a drained worker to finish what it runs.
INCIDENT_S = 8.0
_START_TIMEOUT_S = 60.0


def main(settings: DemoSettings) -> int:
    """Show it until `q`; the exit code.

    Raises:
        ConfigFault: there is no terminal.
    """
    terminal = open_terminal()
    try:
        return run_with_screens(
            router_settings(),
            terminal,
            Look(),
            beside=partial(live, settings),
        )
    finally:
        terminal.close()


def router_settings() -> Settings:
    """Of a router that soon notices what happens to its workers, and keeps what they generate."""
    return Settings(
        port=0,
        health_interval_s=0.5,
        health_timeout_s=2.0,
        shutdown_grace_s=1.0,
        token_cache=True,
        tokenizer=str(tokenizer_dir()),
        capture_routed_experts=True,
    )


async def live(settings: DemoSettings, url: str) -> None:
    """Workers for the router at `url`, and all that happens to them, until cancelled."""
    rng = random.Random(settings.seed)  # noqa: S311  a repeatable show, not a secret
    async with (
        open_fleet(_workers(settings, rng), start_timeout_s=_START_TIMEOUT_S) as fleet,
        open_client(url) as client,
        trio.open_nursery() as nursery,
    ):
        for worker in fleet.urls:
            await _tell(client, "POST", "/workers?wait=10", {"url": worker})
        nursery.start_soon(roll, settings, client)
        nursery.start_soon(disturb, fleet, client, rng)


def _workers(settings: DemoSettings, rng: random.Random) -> list[SimSettings]:
    """Workers differ in speed, as real ones do."""
    first = SimSettings(weight_version="step-0", seed=settings.seed)
    return [
        replace(
            first,
            seed=settings.seed + number,
            tokens_per_s=settings.tokens_per_s * rng.uniform(0.6, 1.4),
        )
        for number in range(settings.workers)
    ]


async def roll(settings: DemoSettings, client: httpx.AsyncClient) -> None:
    """Round after round of dialogues; after each, the workers get other weights."""
    for number in count(1):
        shape = plan.Shape(
            prompts=settings.prompts,
            samples=settings.samples,
            turns=settings.turns,
            min_new_tokens=settings.max_new_tokens // 2,
            max_new_tokens=settings.max_new_tokens,
            seed=settings.seed + number,
            extra={"return_routed_experts": True},
        )
        dialogues = plan.make_dialogues(shape)
        rollout = Rollout(
            client,
            shape,
            Tally(shape.total_turns),
            check=lambda _: [],
            interruptions=plan.choose_interruptions(
                dialogues, shape.turns, aborts=shape.total_turns // 16, disconnects=1
            ),
            interrupt_after_s=0.4,
        )
        await rollout.run(dialogues, concurrency=settings.concurrency)
        body = {"new_version": f"step-{number}", "abort_all_requests": False}
        await _tell(client, "POST", "/update_weight_version", body)


async def disturb(fleet: Fleet, client: httpx.AsyncClient, rng: random.Random) -> None:
    """One incident after the other, until cancelled."""
    await trio.sleep(FIRST_INCIDENT_S)
    for number in count():
        index = rng.randrange(len(fleet.workers))
        if number % 2 == 0:
            await fleet.kill(index)
            await trio.sleep(INCIDENT_S)
            await fleet.restart(index, timeout_s=_START_TIMEOUT_S)
        else:
            name = await _id_of(client, fleet.urls[index])
            await _tell(client, "POST", f"/workers/{name}/drain")
            await trio.sleep(INCIDENT_S)
            await _tell(client, "POST", f"/workers/{name}/undrain")
        await trio.sleep(BETWEEN_INCIDENTS_S)


async def _id_of(client: httpx.AsyncClient, url: str) -> str:
    """The id of the worker at `url`; `none` if the router has it no longer."""
    reply = await client.get("/workers")
    found = [worker["id"] for worker in reply.json()["workers"] if worker["url"] == url]
    return str(found[0]) if found else "none"


async def _tell(
    client: httpx.AsyncClient, method: str, path: str, body: object | None = None
) -> None:
    """One call; what the router says to it is seen on the screen."""
    try:
        await client.request(method, path, json=body)
    except httpx.HTTPError:
        await trio.sleep(1.0)
