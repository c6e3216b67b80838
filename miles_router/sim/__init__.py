"""A simulated SGLang worker: no GPU, no model, the same HTTP contract.

    settings     every choice, one frozen dataclass
    tokenizer    real byte-level BPE with ChatML (data/tokenizer.json, made by train_tokenizer)
    contract, sampling_params, batch, refusals    what SGLang 0.5.23 accepts and how it refuses
    sampler, context, experts, text, generation   one answer, pure and repeatable
    engine, log, answers                          the scheduler and its JSON, pure
    worker       the engine on a trio clock
    http, route, routes, generate, control, loads, sessions, openai_*, inspection, echo
                                                  the HTTP surface
    faults, misbehave                             what it does wrong on demand
    server, running, fleet                        on a port, in this process, as processes

`running_sim` and `open_fleet` start workers; `main` is the command line's entry.
"""

from __future__ import annotations

from miles_router.sim.fleet import Fleet, open_fleet
from miles_router.sim.running import RunningSim, running_sim
from miles_router.sim.server import main, serve, serve_stream
from miles_router.sim.settings import SimSettings
from miles_router.sim.worker import Worker, open_worker

__all__ = [
    "Fleet",
    "RunningSim",
    "SimSettings",
    "Worker",
    "main",
    "open_fleet",
    "open_worker",
    "running_sim",
    "serve",
    "serve_stream",
]
