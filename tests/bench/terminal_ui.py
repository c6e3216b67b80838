"""What the terminal UI costs the router: `python -m tests.bench.terminal_ui [--json PATH]`.

A round is a headless router, one with the UI in its process and one with the UI attached from
another process, with the same 64 workers. They take turns of a few seconds under the same load,
while the other two are stopped (SIGSTOP): a machine is hardly ever the same for a minute. Ratios
and differences are of neighbouring turns, figures are medians over all turns. The UI is on a pseudo
terminal of 120x40 that is read all the time. A measurement during which others took more than a
quarter of the machine is made again, a few times; how much they took is told. Nothing here fails a
build: machines differ.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httptools
import trio

from miles_router.sim import SimSettings, running_sim
from tests.bench.measuring import Quiet, cpu_s, environment, port_in, quantile
from tests.bench.terminal_ui_figures import MODES, PACED_HZ, Figures, fields, report
from tests.doubles.pseudo_terminal import on_terminal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.doubles.pseudo_terminal import PseudoTerminal

WORKERS = 64
CONNECTIONS = 16
FOREIGN_SHARE = 0.25
TRIES = 4
# After a stop: the UI draws everything anew, and what was due meanwhile is done.
WAKE_S = 1.0
BODY = json.dumps({"text": "hello", "sampling_params": {"max_new_tokens": 1}}).encode()
REQUEST = (
    b"POST /generate HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


async def answer(stream: trio.SocketStream) -> None:
    """Read one answer; those of the bench are small and have a length."""
    done = False

    class Reader:
        def on_message_complete(self) -> None:
            nonlocal done
            done = True

    parser = httptools.HttpResponseParser(Reader())
    while not done:
        parser.feed_data(await stream.receive_some(65_536))
    assert parser.get_status_code() == 200, parser.get_status_code()


async def saturate(port: int, seconds: float) -> tuple[float, float]:
    """Requests per second and p99 with `CONNECTIONS` that ask again at once."""
    times: list[float] = []
    until = trio.current_time() + seconds

    async def ask_on() -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            while (began := trio.current_time()) < until:
                await stream.send_all(REQUEST)
                await answer(stream)
                times.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS):
            nursery.start_soon(ask_on)
    return len(times) / seconds, quantile(times, 0.99)


async def pace(port: int, seconds: float) -> tuple[float, float]:
    """p50 and p99 at `PACED_HZ` on one connection, from when each request was due."""
    times: list[float] = []
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        first = trio.current_time() + 0.1
        for number in range(int(seconds * PACED_HZ)):
            due = first + number / PACED_HZ
            await trio.sleep_until(due)
            await stream.send_all(REQUEST)
            await answer(stream)
            times.append(trio.current_time() - due)
    return quantile(times, 0.5), quantile(times, 0.99)


async def quietly(
    work: Callable[[], Awaitable[tuple[float, float]]], pids: list[int]
) -> tuple[tuple[float, float], float]:
    """What `work` measures in the quietest of a few tries, and the foreign share then."""
    tries: list[tuple[float, tuple[float, float]]] = []
    for _ in range(TRIES):
        quiet = Quiet(pids)
        found = await work()
        tries.append((quiet.foreign_share(), found))
        if tries[-1][0] <= FOREIGN_SHARE:
            break
    share, found = min(tries)
    return found, share


async def until_listening(log: Path) -> int:
    with trio.fail_after(60):
        while (port := port_in(log)) is None:  # noqa: ASYNC110  another process writes it
            await trio.sleep(0.05)
        return port


def start_headless(flags: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            command("serve", *flags), stdin=subprocess.DEVNULL, stderr=file, env=environment()
        )


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "miles_router", *words]


@dataclass(frozen=True, slots=True)
class Running:
    """A router and its processes; the last one has the UI, if any."""

    port: int
    pids: list[int]

    def send(self, number: signal.Signals) -> None:
        for pid in self.pids:
            os.kill(pid, number)


@asynccontextmanager
async def router(mode: str, urls: list[str], scratch: Path) -> AsyncIterator[Running]:
    """A router with these workers."""
    log = scratch / f"{mode}-{time.monotonic_ns()}.log"
    flags = ["--port", "0", "--log-format", "json", "--health-interval-s", "60"]
    for url in urls:
        flags += ["--worker", url]
    if mode == "embedded":
        run = on_terminal(*command("tui", *flags, "--log-file", str(log)), env=environment())
        async with run as terminal:
            port = await until_listening(log)
            await painted(terminal)
            yield Running(port, [terminal.process.pid])
        return
    process = start_headless(flags, log)
    try:
        port = await until_listening(log)
        if mode == "headless":
            yield Running(port, [process.pid])
            return
        attach = command("tui", "--attach", f"http://127.0.0.1:{port}")
        attach += ["--log-file", str(scratch / "attached.log")]
        async with on_terminal(*attach, env=environment()) as terminal:
            await painted(terminal)
            yield Running(port, [process.pid, terminal.process.pid])
    finally:
        process.kill()
        process.wait()


async def painted(terminal: PseudoTerminal) -> None:
    """Return once the workers are on the screen; from then on it is read, but not understood."""
    await terminal.until("active", timeout_s=60)
    terminal.is_understood = False


async def measure(running: Running, seconds: float) -> Figures:
    """One turn; the router is stopped before and afterwards."""
    port, pids = running.port, running.pids
    gc.collect()  # between turns: it takes 0.1 s, which belongs to none of them
    running.send(signal.SIGCONT)
    await trio.sleep(WAKE_S)
    (rate, p99), foreign = await quietly(lambda: saturate(port, seconds), pids)
    figures = Figures(saturated_hz=rate, saturated_p99_s=p99, foreign_share=foreign)

    async def paced() -> tuple[float, float]:
        before, began = cpu_s(pids[-1]), time.monotonic()
        figures.paced_p50_s, p99 = await pace(port, 2 * seconds)
        return p99, (cpu_s(pids[-1]) - before) / (time.monotonic() - began)

    (figures.paced_p99_s, figures.cpu_share), foreign = await quietly(paced, pids)
    figures.foreign_share = max(figures.foreign_share, foreign)
    running.send(signal.SIGSTOP)
    return figures


async def one_round(
    urls: list[str], scratch: Path, turns: int, seconds: float, found: dict[str, list[Figures]]
) -> None:
    async with AsyncExitStack() as stack:
        all_running: dict[str, Running] = {}
        for mode in MODES:
            running = await stack.enter_async_context(router(mode, urls, scratch))
            await trio.sleep(2)  # all workers are probed, the collector has settled
            await saturate(running.port, 1)
            running.send(signal.SIGSTOP)
            all_running[mode] = running
        for number in range(turns):
            for mode in MODES if number % 2 == 0 else reversed(MODES):
                found[mode].append(await measure(all_running[mode], seconds))
        for running in all_running.values():
            running.send(signal.SIGCONT)


async def first_paint(scratch: Path) -> tuple[float, float]:
    """Seconds until the first screen of a new process is on the terminal, and of CPU."""
    words = command("tui", "--port", "0", "--log-file", str(scratch / "paint.log"))
    async with on_terminal(*words, env=environment()) as terminal:
        await terminal.until("No workers yet", timeout_s=60)
        took = time.monotonic() - terminal.started_at
        cpu = cpu_s(terminal.process.pid)
        terminal.press("q")
        await terminal.exit_code()
    return took, cpu


async def run(rounds: int, turns: int, seconds: float, path: Path | None) -> None:
    found: dict[str, list[Figures]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        paints = [await first_paint(scratch) for _ in range(2 * rounds + 1)][1:]
        # One worker under 64 names: what is measured is the router, and its screen.
        async with running_sim(SimSettings(host="0.0.0.0", tokens_per_s=100_000)) as sim:
            port = sim.url.rpartition(":")[2]
            urls = [
                f"http://127.0.{number // 200}.{number % 200 + 1}:{port}" for number in range(64)
            ]
            for _ in range(rounds):
                await one_round(urls, scratch, turns, seconds, found)
    report(found, paints)
    if path is not None:
        kept: dict[str, Any] = {mode: list(map(fields, found[mode])) for mode in MODES}
        text = json.dumps({**kept, "first_paint_s": paints}, indent=1)
        await trio.Path(path).write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=6, help="of each router in a round")
    parser.add_argument("--seconds", type=float, default=2.0, help="at saturation, in each turn")
    parser.add_argument("--json", type=Path, help="file for the figures of all rounds")
    chosen = parser.parse_args()
    gc.disable()
    # What is stopped stays so when this process just dies: end as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    trio.run(partial(run, chosen.rounds, chosen.turns, chosen.seconds, chosen.json))


if __name__ == "__main__":
    main()
