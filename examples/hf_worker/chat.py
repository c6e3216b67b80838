"""POST /v1/chat/completions, with SGLang's token extras.

`input_ids` bypasses the chat template; `return_token_ids`, `return_prompt_token_ids` and
`return_meta_info` put ids and details into each choice (not in streams, as in SGLang 0.5.23);
`return_input_ids_in_sglext` and `return_output_ids_in_sglext` work in streams too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import request

from .answers import meta_info, version_spans
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

_NOT_IN_STREAMS = ("return_token_ids", "return_prompt_token_ids", "return_meta_info")


def add_routes(app: QuartTrio, service: Service) -> None:
    """Serve the route."""

    @app.post("/v1/chat/completions")
    @flat_errors
    async def chat_completions() -> Response:
        body = parse_object(await request.get_data())
        intake = read_openai(body, [chat_prompt(body, service)], service, None)
        if not intake.stream:
            await finished(service.engine, intake)
            return reply(_answer(body, intake, service))
        asked = [key for key in _NOT_IN_STREAMS if body.get(key) is True]
        if asked:
            raise RequestError(f"{asked[0]} is not available with stream: true")
        service.engine.check_rids(intake.sequences)
        return events(_stream(body, intake, service))


def chat_prompt(body: Body, service: Service) -> list[int]:
    """The prompt: `input_ids` as they are, or the messages in the model's chat template.

    Raises:
        RequestError: no messages, or the model has no template for them.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError("messages must be a list of at least one message")
    ids = body.get("input_ids")
    if ids is not None:
        if not isinstance(ids, list) or not all(type(token) is int for token in ids):
            raise RequestError("input_ids must be a list of integers")
        return list(ids)
    text = service.speller.chat_text(messages)
    return service.speller.encode(text, add_special_tokens=False)


def _answer(body: Body, intake: Intake, service: Service) -> Json:
    last = intake.sequences[0]
    version = last.versions[-1] if last.versions else service.engine.weight_version
    answer: Json = {
        **frame("chat.completion", intake, service),
        "choices": [
            _choice(index, seq, body, service) for index, seq in enumerate(intake.sequences)
        ],
        "usage": usage(intake),
        "metadata": {"weight_version": version, "weight_versions": version_spans(last.versions)},
    }
    extras = _sglext(body, intake)
    return {**answer, "sglext": extras} if extras else answer


def _choice(index: int, seq: Sequence, body: Body, service: Service) -> Json:
    text = service.speller.text(seq)
    choice: Json = {
        "index": index,
        "message": {"role": "assistant", "content": text, "reasoning_content": None},
        "logprobs": _logprobs(seq, 0, service) if body.get("logprobs") is True else None,
        **ending(seq),
    }
    if body.get("return_prompt_token_ids") is True or body.get("return_token_ids") is True:
        choice["prompt_token_ids"] = seq.prompt_ids
    if body.get("return_token_ids") is True:
        choice["response_token_ids"] = seq.output_ids
    if body.get("return_meta_info") is True:
        choice["meta_info"] = meta_info(seq, service.speller, service.engine.weight_version)
    return choice


def _logprobs(seq: Sequence, start: int, service: Service) -> Json:
    """Log-probabilities of the generated tokens from `start` on; the chosen tokens only."""
    content = []
    for token, logprob in zip(seq.output_ids[start:], seq.logprobs[start:], strict=False):
        text = service.speller.spell([token])
        spelled = {"token": text, "logprob": logprob, "bytes": list(text.encode())}
        content.append({**spelled, "top_logprobs": []})
    return {"content": content}


def _sglext(body: Body, intake: Intake) -> Json:
    extras: Json = {}
    if body.get("return_input_ids_in_sglext") is True:
        extras["input_ids"] = intake.sequences[0].prompt_ids
    if body.get("return_output_ids_in_sglext") is True:
        extras["output_ids"] = [seq.output_ids for seq in intake.sequences]
    return extras


async def _stream(body: Body, intake: Intake, service: Service) -> AsyncIterator[bytes]:
    base = frame("chat.completion.chunk", intake, service)
    progress = Progress(intake)
    shown = [""] * len(intake.sequences)
    with service.engine.serving(intake.sequences):
        for index in range(len(shown)):
            yield _delta(base, index, {"role": "assistant", "content": ""})
        while not progress.ended:
            for index, seq, sent in await progress.news():
                text = service.speller.text(seq)
                delta: Json = {"content": text[len(shown[index]) :]}
                shown[index] = text
                logprobs = _logprobs(seq, sent, service) if body.get("logprobs") is True else None
                if delta["content"] or logprobs:
                    yield _delta(base, index, delta, logprobs=logprobs)
                if seq.finish is not None:
                    yield _delta(base, index, {}, **ending(seq))
    if extras := _sglext(body, intake):
        yield event({**base, "choices": [], "sglext": extras})
    if wants_usage(body):
        yield event({**base, "choices": [], "usage": usage(intake)})
    yield STREAM_END


def _delta(base: Json, index: int, delta: Json, **fields: object) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **fields}
    return event({**base, "choices": [choice]})
