"""What the token cache costs, in memory and time: `make bench`. Prints a table; asserts nothing.

The figures of one run are comparable with each other; on a shared machine take the best of several.
"""

from __future__ import annotations

import base64
import gc
import json
import random
import time
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import trio

from miles_router.core.events import EventLog
from miles_router.core.r3 import ExpertShape
from miles_router.core.radix.run import TokenRun
from miles_router.core.trajectory.finding import find_prompt
from miles_router.core.trajectory.reading import read_text
from miles_router.core.trajectory.store import StoreLimits, TrajectoryStore
from miles_router.core.trajectory.turn import NewTurn, SpelledOutput, Turn, VersionSpan
from miles_router.net.token_cache import TokenCache
from miles_router.plugins.token_cache.middleware import TokenCacheMiddleware
from miles_router.plugins.tokenizer import load_tokenizer
from miles_router.sim.tokenizer import tokenizer_dir

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 1024**3
ROUNDS = 5


def show(what: str, figure: str, bound: str) -> None:
    print(f"{what:<66} {figure:>22}   bound {bound}")


class Words:
    """Runs of tokens from a made-up vocabulary; English has about 4.5 bytes a token."""

    def __init__(self) -> None:
        rng = random.Random(1)
        letters = b"abcdefghijklmnopqrstuvwxyz"
        words: dict[bytes, None] = {}  # as in real vocabularies, hardly two tokens show one text
        while len(words) < 30_000:
            words[b" " + bytes(rng.choice(letters) for _ in range(rng.randint(1, 6)))] = None
        self._words = list(words)
        self._rng = rng

    def run(self, tokens: int) -> TokenRun:
        ids = [self._rng.randrange(30_000) for _ in range(tokens)]
        text = [self._words[token] for token in ids]
        return TokenRun.of(ids, [len(word) for word in text], b"".join(text))


def limits(budget_bytes: int = 64 * GIB) -> StoreLimits:
    return StoreLimits(budget_bytes, 64 * GIB, None, 8)


def add(
    store: TrajectoryStore, prompt: TokenRun, output: TokenRun, parent: Turn | None, **more: Any
) -> Turn:
    size = len(output)
    visible = size - 1 if more.pop("has_tail", False) else size
    new = NewTurn(
        session=more.get("session"),
        rid=f"{random.getrandbits(128):032x}",
        parent=parent,
        inherited=0 if parent is None else parent.end,
        prompt=prompt,
        is_text_prompt=True,
        output=SpelledOutput(output, visible),
        logprobs=np.full(size, -1.0, dtype="<f4").tobytes(),
        versions=(VersionSpan("step-7", 0, size),),
        finish="stop",
    )
    return store.add("default", new, 0.0)


def memory_per_token(*, has_tail: bool) -> None:
    """500 dialogues of 10 turns: 100 tokens of prompt and 256 of answer each."""
    words, store = Words(), TrajectoryStore(limits())
    runs = [(words.run(100), words.run(256)) for _ in range(5_000)]
    packed = [((p.ids, p.lengths, p.text), (o.ids, o.lengths, o.text)) for p, o in runs]
    del runs
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    turn: Turn | None = None
    for place, (prompt, output) in enumerate(packed):
        copied = [TokenRun(*(bytes(bytearray(part)) for part in run)) for run in (prompt, output)]
        parent = None if place % 10 == 0 else turn
        session = f"dialogue-{place // 10}"
        turn = add(store, copied[0], copied[1], parent, session=session, has_tail=has_tail)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    kind = "trimmed stop token" if has_tail else "stop token shown"
    figure = f"{used / store.tokens:.1f} B ({store.size_bytes / store.tokens:.1f} counted)"
    show(f"memory per stored token, {kind}", figure, "<= 20 B")


def lookup() -> None:
    """A dialogue of 32k tokens beside 10,000 trajectories with a common prefix."""
    for others in (100, 10_000):
        words, store = Words(), TrajectoryStore(limits())
        common = words.run(450)
        for _ in range(others):
            add(store, common + words.run(20), words.run(30), None)
        turn, text = None, b""
        for place in range(20):
            prompt = (common + words.run(200)) if place == 0 else words.run(200)
            output = words.run(1_400)
            turn = add(store, prompt, output, turn, session="s")
            text += prompt.text + output.text
        namespace, gone = store.namespaces["default"], store.gone
        asked = text + b" and a new question"
        find = best_of(partial(find_prompt, namespace, asked, None), 200)
        reading = partial(read_text, namespace, gone, text, session=None, rid=None)
        read = best_of(reading, 50)
        what = f"look-up of a {turn.end if turn else 0}-token dialogue, {others} others"
        show(what, f"{find * 1e3:.3f} ms", "<= 1 ms")
        show("  the same, read with all its columns", f"{read * 1e3:.3f} ms", "-")


def spellings() -> None:
    """Thousands of samples that spell one text, each in ids of its own."""
    rng, store = random.Random(1), TrajectoryStore(limits())
    text = b"=" * 120
    for number in range(5_000):
        sizes: list[int] = []
        while sum(sizes) < len(text):
            sizes.append(min(rng.choice([1, 2, 3, 4, 8, 16]), len(text) - sum(sizes)))
        prompt = TokenRun.of([500], [5], b"rep: ")
        add(store, prompt, TokenRun.of(sizes, sizes, text), None, session=f"s{number // 16}")
    namespace, gone, whole = store.namespaces["default"], store.gone, b"rep: " + text
    for session in ("s7", None):
        named = "in a session" if session else "in none"
        find = best_of(partial(find_prompt, namespace, whole + b" more", session), 20)
        reading = partial(read_text, namespace, gone, whole, session=session, rid=None)
        read = best_of(reading, 20)
        show(f"a text that 5000 samples spell, {named}: continued", f"{find * 1e3:.3f} ms", "-")
        show("  the same, read", f"{read * 1e3:.3f} ms", "-")


def best_of(work: Callable[[], object], times: int) -> float:
    """Seconds of one call, in the best of several rounds."""
    found = []
    for _ in range(ROUNDS):
        started_at = time.perf_counter()
        for _ in range(times):
            work()
        found.append((time.perf_counter() - started_at) / times)
    return min(found)


def make_cache(**more: Any) -> TokenCache:
    return TokenCache(
        store=TrajectoryStore(limits()),
        tokenizer=load_tokenizer(str(tokenizer_dir())),
        shape=ExpertShape(),
        events=EventLog(),
        log=structlog.wrap_logger(structlog.ReturnLogger(), processors=[]),
        unix_offset_s=0.0,
        **more,
    )


class _Api:
    def note_weight_version(self, worker_id: str, version: str) -> None:
        """The pool is not part of the measurement."""


def around(cache: TokenCache, app: Any) -> TokenCacheMiddleware:
    return TokenCacheMiddleware(
        app,
        cache,
        _Api(),  # type: ignore[arg-type]  # all that is used of it
        takes_part=lambda _scope: True,
        tenant_of=lambda _scope: "default",
    )


async def ask(app: Any, body: bytes) -> list[dict[str, Any]]:
    """One request through an ASGI app."""
    sent: list[dict[str, Any]] = []
    received = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        return next(received)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-length", b"%d" % len(body))]
    scope = {"type": "http", "method": "POST", "path": "/generate", "headers": headers}
    await app(scope, receive, send)
    return sent


def answering(answer_of: Callable[[dict[str, Any]], bytes]) -> Any:
    """An app that answers as a worker would, at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        data = answer_of(body)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(data)),
            (b"x-miles-worker", b"w1"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": data, "more_body": False})

    return app


async def added_cpu() -> None:
    """A prompt of 1,000 known tokens, 256 new ones: CPU of everything but the worker."""
    cache = make_cache()
    rng = random.Random(3)
    tokenizer = cache.tokenizer
    words = [rng.randrange(300, tokenizer.vocab_size) for _ in range(1_900)]
    text = tokenizer.spell(np.array(words, dtype="<i4"), skip_special_tokens=True).text
    prompt = text.decode(errors="replace")
    ids = tokenizer.encode(prompt, is_continuation=False).id_array[:1_000]
    prompt = tokenizer.spell(ids, skip_special_tokens=False).text.decode()
    size = len(tokenizer.encode(prompt, is_continuation=False))
    single = [
        tokenizer.spell(np.array([one], "<i4"), skip_special_tokens=True)
        for one in range(300, tokenizer.vocab_size)
    ]
    whole = [int(run.id_array[0]) for run in single if run.text.isascii() and run.text]
    outputs = [np.array(rng.choices(whole, k=256), dtype="<i4") for _ in range(64)]
    answers = []
    for number, output in enumerate(outputs):
        shown = tokenizer.spell(output, skip_special_tokens=True).text.decode()
        triples = [[-0.5 - i / 1000, int(one), None] for i, one in enumerate(output)]
        meta = {
            "id": f"r{number}",
            "finish_reason": {"type": "length", "length": 256},
            "prompt_tokens": size,
            "weight_version": "7",
            "num_retractions": 0,
            "input_token_logprobs": [],
            "output_token_logprobs": triples,
            "output_token_logprobs_length": 256,
            "reasoning_tokens": 0,
            "completion_tokens": 256,
            "cached_tokens": size - 1,
            "weight_versions": [{"version": "7", "start": 0, "end": 256}],
            "dp_rank": None,
            "e2e_latency": 1.0,
        }
        told = {"text": shown, "output_ids": output.tolist(), "meta_info": meta}
        answers.append(json.dumps(told).encode())
    turn = iter(range(1 << 30))
    worker = answering(lambda _body: answers[next(turn) % len(answers)])
    request = {"text": prompt, "sampling_params": {"max_new_tokens": 256, "temperature": 1.0}}
    body = json.dumps(request).encode()
    cached = around(cache, worker)
    await ask(cached, body)

    async def measure(app: Any) -> tuple[float, float]:
        times = 400
        wall, loop = time.process_time(), time.thread_time()
        for _ in range(times):
            await ask(app, body)
        return (time.process_time() - wall) / times, (time.thread_time() - loop) / times

    async with trio.open_nursery() as nursery:
        await nursery.start(cache.quick_thread.run)
        plain = min([await measure(worker) for _ in range(ROUNDS)])
        with_cache = min([await measure(cached) for _ in range(ROUNDS)])
        nursery.cancel_scope.cancel()
    what = f"added CPU per /generate, {size} known tokens, 256 new"
    show(what, f"{(with_cache[0] - plain[0]) * 1e3:.3f} ms", "<= 0.6 ms")
    show("  of which on the loop", f"{(with_cache[1] - plain[1]) * 1e3:.3f} ms", "<= 0.3 ms")
    assert cache.counters.failures == 0, "the cache failed: the figures mean nothing"
    assert cache.counters.stored > ROUNDS, "nothing was stored: the figures mean nothing"


async def large_r3() -> None:
    """One answer with 67 MB of routed experts, while a ticker watches the loop."""
    cache = make_cache(captures_r3=True)
    prompt_tokens, output_tokens, width = 25_744, 256, 480
    rows = prompt_tokens + output_tokens - 1
    experts = np.random.default_rng(1).integers(0, 256, rows * width, dtype=np.int32)
    blob = base64.b64encode(experts.tobytes()).decode()
    del experts
    output = list(range(300, 300 + output_tokens))
    meta = {
        "id": "r",
        "finish_reason": {"type": "length", "length": output_tokens},
        "prompt_tokens": prompt_tokens,
        "weight_version": "7",
        "output_token_logprobs": [[-0.5, one, None] for one in output],
        "completion_tokens": output_tokens,
        "routed_experts": blob,
    }
    shown = cache.tokenizer.spell(np.array(output, dtype="<i4"), skip_special_tokens=True)
    answer = json.dumps({"text": shown.text.decode(), "output_ids": output, "meta_info": meta})
    data = answer.encode()
    del blob, meta, answer
    # The prompt's text is made so that it has exactly so many tokens.
    ids = np.full(prompt_tokens, cache.tokenizer.encode(" x", is_continuation=False).id_array[-1])
    prompt = cache.tokenizer.spell(ids.astype("<i4"), skip_special_tokens=False).text.decode()
    found = len(cache.tokenizer.encode(prompt, is_continuation=False))
    data = data.replace(b'"prompt_tokens": %d' % prompt_tokens, b'"prompt_tokens": %d' % found)
    body = json.dumps({"text": prompt, "sampling_params": {}}).encode()
    app = around(cache, answering(lambda _body: data))
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            asked_at = time.perf_counter()
            await trio.sleep(0.001)
            longest = max(longest, time.perf_counter() - asked_at - 0.001)

    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await trio.sleep(0.05)
        started_at = time.perf_counter()
        await ask(app, body)
        took = time.perf_counter() - started_at
        nursery.cancel_scope.cancel()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    size_mb = len(data) / 1e6
    outcome = dict(cache.counters.r3) | dict(cache.counters.refused)
    show(f"one answer of {size_mb:.0f} MB ({outcome}), in all", f"{took * 1e3:.0f} ms", "-")
    show("  longest block of the loop", f"{longest * 1e3:.1f} ms", "<= 20 ms")
    figure = f"{(peak + len(data)) / len(data):.2f} x"
    show("  peak memory, the answer itself included", figure, "<= 3 x")


def soak() -> None:
    """200,000 inserts into 32 MiB."""
    budget = 32 * 1024**2
    store, words = TrajectoryStore(limits(budget)), Words()
    prompts = [words.run(random.randint(1, 120)) for _ in range(200)]
    most, started_at = 0, time.perf_counter()
    turn: Turn | None = None
    for place in range(200_000):
        prompt, output = random.choice(prompts), random.choice(prompts)
        parent = turn if place % 3 and turn is not None and turn.trajectory is not None else None
        turn = add(store, prompt, output, parent)
        store.take_removed()
        most = max(most, store.size_bytes)
    took = time.perf_counter() - started_at
    figure = f"{most / budget:.3f} x, {took / 0.2:.0f} us each"
    show("largest size in 200,000 inserts, of --cache-bytes", figure, "<= 1 x + a request")


def main() -> None:
    memory_per_token(has_tail=False)
    memory_per_token(has_tail=True)
    lookup()
    spellings()
    trio.run(added_cpu)
    trio.run(large_r3)
    trio.run(partial(r3_moved))
    soak()


async def r3_moved() -> None:
    """A dialogue of ten turns with a worker that honours routed_experts_start_len."""
    cache = make_cache(captures_r3=True)
    width = 8
    sent = 0

    def answer_of(body: Any) -> bytes:
        nonlocal sent
        asked = json.loads(body)
        ids, start = asked["input_ids"], asked["routed_experts_start_len"]
        output = [random.randrange(300, cache.tokenizer.vocab_size) for _ in range(64)]
        rows = len(ids) + len(output) - 1 - start
        blob = base64.b64encode(np.zeros(rows * width, dtype="<i4").tobytes()).decode()
        sent += len(blob)
        spelled = cache.tokenizer.spell(np.array(output, dtype="<i4"), skip_special_tokens=True)
        meta = {
            "id": asked["rid"],
            "finish_reason": {"type": "length", "length": 64},
            "prompt_tokens": len(ids),
            "completion_tokens": 64,
            "routed_experts": blob,
            "output_token_logprobs": [[-1.0, one, None] for one in output],
            "weight_version": "7",
        }
        told = {"text": spelled.text.decode(), "output_ids": output, "meta_info": meta}
        return json.dumps(told).encode()

    app, text = around(cache, answering(answer_of)), "a question"
    for _ in range(10):
        sent_messages = await ask(app, json.dumps({"text": text}).encode())
        answer = b"".join(message.get("body", b"") for message in sent_messages)
        text += json.loads(answer)["text"] + "<|im_end|>\n a tool said: 42\n"
    tip = next(iter(cache.store.namespaces["default"].trajectories.values())).tip
    whole = len(base64.b64encode(bytes((tip.end - 1) * width * 4)))
    show("R3 moved for a 10-turn dialogue, of one full blob", f"{sent / whole:.2f} x", "<= 1.2 x")


if __name__ == "__main__":
    main()
