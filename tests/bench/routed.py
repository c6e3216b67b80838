"""What the relay's benchmark measures: routers as a user starts them, before workers with answers
made beforehand, each in a process of its own."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.bench.fixed_worker import address_of
from tests.bench.measuring import cpu_s, environment, port_in, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.load import Address

KEY = "benchmark"


@dataclass(frozen=True, slots=True)
class Workers:
    """Simulated workers, all in one process."""

    pid: int
    addresses: list[Address]


def answer(tokens: int, expert_bytes: int = 0) -> bytes:
    """An answer as SGLang gives it, with log-probabilities, and so many bytes of routed experts."""
    chance = random.Random(0)
    ids = [chance.randrange(50_000) for _ in range(tokens)]
    meta: dict[str, Any] = {
        "id": "x" * 32,
        "finish_reason": {"type": "stop", "matched": 2},
        "prompt_tokens": 21,
        "weight_version": "7",
        "completion_tokens": tokens,
        "cached_tokens": 0,
        "e2e_latency": 1.2,
        "output_token_logprobs": [[-chance.random() * 3, one, None] for one in ids],
    }
    if expert_bytes:
        meta["routed_experts"] = base64.b64encode(chance.randbytes(expert_bytes)).decode()
    return json.dumps({"text": " word" * tokens, "output_ids": ids, "meta_info": meta}).encode()


def piece() -> bytes:
    """One event of a stream that carries one token."""
    meta = {"id": "x" * 32, "finish_reason": None, "prompt_tokens": 21, "completion_tokens": 9}
    told = {"text": " word", "output_ids": [1234], "meta_info": meta}
    return b"data: " + json.dumps(told).encode()


def request(body: dict[str, Any]) -> bytes:
    """The bytes of a POST to /generate, key included."""
    data = json.dumps(body).encode()
    return (
        b"POST /generate HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    ) % (KEY.encode(), len(data), data)


def small_requests(**more: Any) -> Iterator[bytes]:
    """Short requests without end, each with a rid of its own for long enough."""
    text = "Once upon a time there was a small router between rollout scripts and workers."
    sampling = {"temperature": 1.0, "max_new_tokens": 16}
    body = {"text": text, "sampling_params": sampling, "return_logprob": True, **more}
    return itertools.cycle([request({"rid": f"{n:032x}", **body}) for n in range(8192)])


class Router:
    """A running router."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.address = ("127.0.0.1", port)

    def get(self, path: str) -> bytes:
        status, body = self._ask(path)
        assert status == 200, (path, status, body)
        return body

    @property
    def healthy_workers(self) -> int:
        """None of them is, and /health no 200, before they were probed."""
        return int(json.loads(self._ask("/health")[1])["healthy_workers"])

    def _ask(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
        reply = connection.getresponse()
        body = reply.read()
        connection.close()
        return reply.status, body

    def snapshot(self) -> dict[str, Any]:
        return dict(json.loads(self.get("/snapshot")))

    def lags(self) -> dict[float, int]:
        """How often the loop was late by up to so many seconds, since the start."""
        found = {}
        for line in self.get("/metrics").decode().splitlines():
            if line.startswith("miles_router_loop_lag_seconds_bucket"):
                found[float(line.split('le="')[1].split('"')[0])] = int(float(line.split()[-1]))
        return found

    @property
    def cpu_s(self) -> float:
        return cpu_s(self.pid)

    @property
    def resident_bytes(self) -> int:
        return resident_bytes(self.pid)


@contextmanager
def fixed_workers(scratch: Path, answers: list[bytes], *options: str) -> Iterator[Workers]:
    """Workers in a process of their own; `options` as `fixed_worker` takes them."""
    file = scratch / f"answers-{time.monotonic_ns()}"
    file.write_bytes(b"\n".join(answers))
    words = [sys.executable, "-m", "tests.bench.fixed_worker", str(file), *options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment())
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        count = int(options[options.index("--workers") + 1]) if "--workers" in options else 1
        yield Workers(process.pid, [(address_of(number), port) for number in range(count)])
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def running_router(scratch: Path, workers: Workers, *flags: str) -> Iterator[Router]:
    """`miles-router serve` with a key and JSON logs in a file, once all workers are active."""
    log = scratch / f"router-{time.monotonic_ns()}.log"
    words = [sys.executable, "-m", "miles_router", "serve", "--port", "0", "--log-format", "json"]
    words += ["--api-key", f"bench={KEY}", *flags]
    for host, port in workers.addresses:
        words += ["--worker", f"http://{host}:{port}"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment()
        )
    try:
        yield _until_ready(process, log, len(workers.addresses))
    finally:
        process.terminate()
        process.wait()


def _until_ready(process: subprocess.Popen[bytes], log: Path, workers: int) -> Router:
    until = time.monotonic() + 60
    router: Router | None = None
    while time.monotonic() < until and process.poll() is None:
        if router is None and (port := port_in(log)) is not None:
            router = Router(process.pid, port)
        if router is not None and router.healthy_workers == workers:
            return router
        time.sleep(0.1)
    raise RuntimeError(f"the router did not start: {log.read_text(encoding='utf-8')[-2000:]}")
