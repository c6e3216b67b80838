"""What the token cache adds to a request of text, against the same requests without it."""

from __future__ import annotations

import itertools
import json
import random
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from miles_router.plugins.tokenizer import load_tokenizer
from miles_router.sim.tokenizer import tokenizer_dir
from tests.bench.load import saturate
from tests.bench.measuring import show, spread
from tests.bench.routed import fixed_workers, request, running_router

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.routed import Router

CONNECTIONS = 16
PROMPT_TOKENS = 1_000
OUTPUT_TOKENS = (16, 256)
KNOWN_PROMPTS = 512
KINDS = ("without", "known", "new")


class Words:
    """Tokens of the simulated workers' vocabulary that are one whole word each, space and all.

    However they are strung together, the text has as many tokens as words.
    """

    def __init__(self) -> None:
        self.tokenizer = load_tokenizer(str(tokenizer_dir()))
        self._chance = random.Random(1)
        self.known: list[tuple[int, str]] = []
        for one in range(self.tokenizer.vocab_size):
            run = self.tokenizer.spell(np.array([one], "<i4"), skip_special_tokens=True)
            text = run.text.decode(errors="replace")
            if text.isascii() and text.startswith(" ") and text[1:].isalpha() and len(text) > 2:
                self.known.append((one, text))
        prompt = self.prompt()
        size = len(self.tokenizer.encode(prompt, is_continuation=False))
        assert size == PROMPT_TOKENS, size

    def prompt(self) -> str:
        return "".join(text for _, text in self._chance.choices(self.known, k=PROMPT_TOKENS))

    def answer(self, tokens: int) -> bytes:
        drawn = self._chance.choices(self.known, k=tokens)
        ids = [one for one, _ in drawn]
        meta = {
            "id": f"{self._chance.getrandbits(128):032x}",
            "finish_reason": {"type": "length", "length": tokens},
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": tokens,
            "cached_tokens": PROMPT_TOKENS - 1,
            "weight_version": "7",
            "input_token_logprobs": [],
            "output_token_logprobs": [[-self._chance.random() * 3, one, None] for one in ids],
            "output_token_logprobs_length": tokens,
            "e2e_latency": 1.0,
        }
        text = "".join(text for _, text in drawn)
        return json.dumps({"text": text, "output_ids": ids, "meta_info": meta}).encode()


def measure(scratch: Path, rounds: int, seconds: float) -> dict[str, Any]:
    words = Words()
    found: dict[str, Any] = {}
    for tokens in OUTPUT_TOKENS:
        with ExitStack() as stack:
            answers = [words.answer(tokens) for _ in range(64)]
            workers = stack.enter_context(fixed_workers(scratch, answers, "--workers", "2"))
            flags = ("--token-cache", "--tokenizer", str(tokenizer_dir()))
            routers = {
                "without": stack.enter_context(running_router(scratch, workers)),
                "with": stack.enter_context(running_router(scratch, workers, *flags)),
            }
            found[str(tokens)] = _in_turn(routers, words, tokens, rounds, seconds)
        _report(tokens, found[str(tokens)])
    return found


def _in_turn(
    routers: dict[str, Router], words: Words, tokens: int, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """CPU microseconds per request of each kind, one value a round."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    prompts = [words.prompt() for _ in range(KNOWN_PROMPTS)]
    asked = _make_known(routers["with"], prompts, tokens, seconds)
    for number in range(-1, rounds):  # the first one warms up
        for kind in KINDS:
            texts: Iterator[str] = map(Words.prompt, itertools.repeat(words))
            if kind != "new":
                texts = itertools.cycle(prompts)
            router = routers["without" if kind == "without" else "with"]
            cpu = router.cpu_s
            got = saturate(
                router.address, _requests(texts, tokens), connections=CONNECTIONS, seconds=seconds
            )
            asked += got.count * (kind != "without")
            if number >= 0:
                found[kind].append((router.cpu_s - cpu) / got.count * 1e6)
    cache = routers["with"].snapshot()["token_cache"]
    assert cache["failures"] == 0, "the cache failed: the figures mean nothing"
    assert cache["stored"] == asked, f"{cache['stored']} of {asked} were stored: {cache}"
    return found


def _make_known(router: Router, prompts: list[str], tokens: int, seconds: float) -> int:
    """Have each prompt answered once, however slow the machine is; how many requests that took."""
    requests, asked = _requests(itertools.cycle(prompts), tokens), 0
    while asked < len(prompts):
        asked += saturate(router.address, requests, connections=CONNECTIONS, seconds=seconds).count
    return asked


def _requests(texts: Iterator[str], tokens: int) -> Iterator[bytes]:
    sampling = {"max_new_tokens": tokens, "temperature": 1.0}
    for text, number in zip(texts, itertools.count(), strict=False):
        rid = f"{number:032x}"
        body = {"rid": rid, "text": text, "sampling_params": sampling, "return_logprob": True}
        yield request(body)


def _report(tokens: int, found: dict[str, list[float]]) -> None:
    print(f"Prompts of {PROMPT_TOKENS} tokens as text, answers of {tokens}: CPU per request")
    for kind, what in (("known", "prompts it has seen"), ("new", "prompts never seen")):
        pairs = zip(found["without"], found[kind], strict=True)
        ratios = [after / before for before, after in pairs]
        show(f"  with the token cache, {what}", spread(ratios, "x"), "<= 2.5 x")
    for kind in KINDS:
        show(f"    {kind}", spread(found[kind], "us"))
