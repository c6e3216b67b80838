"""What all routes share: the parts of a running worker, and how a request is seen to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from .params import SamplingParams
from .sequences import AnswerOptions, Notice, Sequence

if TYPE_CHECKING:
    from .engine import Engine
    from .intake import Intake, Limits
    from .spelling import Speller

_HEALTH_WITHIN_S = 20.0
_LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Facts:
    """What the worker says about itself."""

    model_path: str
    served_model_name: str
    model_type: str
    architectures: list[str]
    host: str
    port: int
    max_batch: int
    context_tokens: int
    cache_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Service:
    """Everything a route needs."""

    engine: Engine
    speller: Speller
    limits: Limits
    facts: Facts


async def finished(engine: Engine, intake: Intake) -> None:
    """Run the sequences of a request to their ends."""
    with engine.serving(intake.sequences):
        while any(seq.finish is None for seq in intake.sequences):
            await intake.notice.wait()


class Progress:
    """What a stream has said so far of each sequence, and what it should say next."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._sent = [0] * len(intake.sequences)
        self._open = set(range(len(intake.sequences)))

    @property
    def ended(self) -> bool:
        """Whether the end of every sequence has been told."""
        return not self._open

    async def news(self) -> list[tuple[int, Sequence, int]]:
        """Wait; then the sequences with something to tell: index, sequence, tokens told before."""
        await self._intake.notice.wait()
        told = []
        for index, seq in enumerate(self._intake.sequences):
            if index in self._open and self._due(seq, self._sent[index]):
                told.append((index, seq, self._sent[index]))
                self._sent[index] = len(seq.output_ids)
                if seq.finish is not None:
                    self._open.discard(index)
        return told

    @staticmethod
    def _due(seq: Sequence, sent: int) -> bool:
        """Due are the first token, each interval, and the end."""
        if seq.finish is not None:
            return True
        fresh = len(seq.output_ids) - sent
        return fresh > 0 and (sent == 0 or fresh >= seq.params.stream_interval)


async def is_healthy(service: Service) -> bool:
    """Whether the model makes progress: one token of its own, or a step for anybody else.

    A paused worker is healthy: it stands still because it was told to.
    """
    engine = service.engine
    if engine.paused:
        return True
    before = engine.steps
    notice = Notice()
    params = SamplingParams(max_new_tokens=1, temperature=0.0)
    probe = Sequence(f"HEALTH_CHECK_{trio.current_time()}", [0], params, AnswerOptions(), notice)
    with trio.move_on_after(_HEALTH_WITHIN_S), engine.serving([probe]):
        while engine.steps == before and probe.finish is None and not engine.paused:
            with trio.move_on_after(_LOOK_AGAIN_S):
                await notice.wait()
        return True
    return False
