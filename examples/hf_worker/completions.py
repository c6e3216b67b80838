"""POST /v1/completions: text or ids in, text (and ids, when asked for) out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import request

from .answers import version_spans
from .openai_intake import ending, flat_errors, frame, read_openai, usage, wants_usage
from .params import RequestError
from .replies import STREAM_END, event, events, parse_object, reply
from .service import Progress, finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart import Response
    from quart_trio import QuartTrio

    from .intake import Body, Intake
    from .openai_intake import Json
    from .sequences import Sequence
    from .service import Service

_DEFAULT_MAX_TOKENS = 16


def add_routes(app: QuartTrio, service: Service) -> None:
    """Serve the route."""

    @app.post("/v1/completions")
    @flat_errors
    async def text_completions() -> Response:
        body = parse_object(await request.get_data())
        for key in ("echo", "suffix"):
            if body.get(key):
                raise RequestError(f"{key} is not available on this worker; leave it out")
        intake = read_openai(body, _prompts(body, service), service, _DEFAULT_MAX_TOKENS)
        if intake.stream:
            service.engine.check_rids(intake.sequences)
            return events(_stream(body, intake, service))
        await finished(service.engine, intake)
        first = intake.sequences[0]
        version = first.versions[-1] if first.versions else service.engine.weight_version
        choices = [
            _choice(index, seq, body, service, shown="", sent=0)
            for index, seq in enumerate(intake.sequences)
        ]
        metadata = {"weight_version": version, "weight_versions": version_spans(first.versions)}
        answer = frame("text_completion", intake, service)
        return reply({**answer, "choices": choices, "usage": usage(intake), "metadata": metadata})


def _prompts(body: Body, service: Service) -> list[list[int]]:
    prompt = body.get("prompt")
    items = prompt if isinstance(prompt, list) else [prompt]
    if items and all(type(item) is int for item in items):
        items = [items]
    prompts: list[list[int]] = []
    for item in items:
        if isinstance(item, str):
            prompts.append(service.speller.encode(item))
        elif isinstance(item, list) and all(type(token) is int for token in item):
            prompts.append(item)
        else:
            raise RequestError("prompt must be a string, a list of strings, or token ids")
    if not prompts:
        raise RequestError("prompt must not be empty")
    return prompts


def _choice(
    index: int, seq: Sequence, body: Body, service: Service, *, shown: str, sent: int
) -> Json:
    """A choice without what a stream has already shown of it."""
    choice: Json = {
        "index": index,
        "text": service.speller.text(seq)[len(shown) :],
        "logprobs": _logprobs(seq, sent, service) if body.get("logprobs") else None,
        **ending(seq),
    }
    if body.get("return_token_ids") is True:
        choice["token_ids"] = seq.output_ids[sent:]
        if sent == 0:
            choice["prompt_token_ids"] = seq.prompt_ids
    return choice


def _logprobs(seq: Sequence, sent: int, service: Service) -> Json:
    """The chosen tokens only: this worker keeps no others."""
    ids = seq.output_ids[sent:]
    return {
        "tokens": [service.speller.spell([token]) for token in ids],
        "token_logprobs": seq.logprobs[sent : sent + len(ids)],
        "top_logprobs": None,
        "text_offset": [],
    }


async def _stream(body: Body, intake: Intake, service: Service) -> AsyncIterator[bytes]:
    base = frame("text_completion", intake, service)
    progress = Progress(intake)
    shown = [""] * len(intake.sequences)
    with service.engine.serving(intake.sequences):
        while not progress.ended:
            for index, seq, sent in await progress.news():
                choice = _choice(index, seq, body, service, shown=shown[index], sent=sent)
                shown[index] += str(choice["text"])
                yield event({**base, "choices": [choice]})
    if wants_usage(body):
        yield event({**base, "choices": [], "usage": usage(intake)})
    yield STREAM_END
