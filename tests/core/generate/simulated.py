"""Real answers: what a simulated SGLang worker sends for a request, as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from miles_router.sim import SimSettings
from miles_router.sim.answers import Cursor
from miles_router.sim.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from miles_router.sim.generation import Generation

encode = msgspec.json.encode
DONE = b"data: [DONE]\n\n"
VOCAB_SIZE = Engine(SimSettings()).tokenizer.vocab_size


def encoded(text: str) -> list[int]:
    """Ids as the simulated worker makes them of a text."""
    return Engine(SimSettings()).tokenizer.encode(text)


def answer(body: bytes, settings: SimSettings | None = None, *, indent: bool = False) -> bytes:
    """The whole answer to a request, from a worker that has seen no other."""
    engine = Engine(settings or SimSettings())
    batch = engine.parse(msgspec.json.decode(body))
    generations = engine.admit(batch, now=1.0)
    engine.submit(generations, now=1.0)
    while engine.running:
        engine.advance(now=1.5)
    found = [engine.answers.whole(one, version=engine.weight_version) for one in generations]
    data = encode(found[0] if batch.is_single else found)
    return msgspec.json.format(data, indent=2) if indent else data


def events(
    body: bytes, settings: SimSettings | None = None, *, steps: int | None = None
) -> list[bytes]:
    """The events of a streamed answer; after `steps` steps everything is aborted.

    After each step the weight version goes up by one.
    """
    engine = Engine(settings or SimSettings(weight_version="1"))
    batch = engine.parse(msgspec.json.decode(body))
    generations = engine.admit(batch, now=1.0)
    engine.submit(generations, now=1.0)
    cursors = [Cursor() for _ in generations]

    def chunks(changed: list[Generation]) -> Iterator[bytes]:
        for index, one in enumerate(generations):
            if one in changed:
                version = engine.weight_version
                if engine.settings.incremental_streaming:
                    chunk = engine.answers.delta(one, cursors[index], version=version)
                else:
                    chunk = engine.answers.whole(one, version=version)
                yield event(chunk if batch.is_single else {**chunk, "index": index})

    found: list[bytes] = []
    done = 0
    while engine.running and (steps is None or done < steps):
        found += chunks(engine.advance(now=1.5))
        done += 1
        engine.set_weight_version(str(done + 1))
    if engine.running:
        found += chunks(engine.abort("", abort_all=True, now=2.0))
    return [*found, DONE]


def event(value: Any) -> bytes:
    """One server-sent event, as SGLang writes it."""
    return b"data: " + encode(value) + b"\n\n"
