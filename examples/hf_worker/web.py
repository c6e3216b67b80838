"""The HTTP routes of SGLang that the router uses: /generate, control and observation.

A route only reads the request, lets the engine run, and writes the answer. When a client goes away
its request task is cancelled, and leaving `Engine.serving` aborts what it asked for.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import trio
from quart import request
from quart_trio import QuartTrio

from . import chat, completions
from .answers import answer
from .intake import Intake, read_generate
from .params import ContractError, RequestError
from .replies import (
    STREAM_END,
    MalformedJson,
    empty,
    event,
    events,
    flat_error,
    parse_object,
    reply,
    stream_error,
)
from .service import Progress, finished, is_healthy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart import Response

    from .service import Facts, Service

_BODY_LIMIT_BYTES = 1 << 30


def create_app(service: Service) -> QuartTrio:
    """The application; the engine must be running beside it."""
    app = QuartTrio("hf_worker")
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = None
    app.config["MAX_CONTENT_LENGTH"] = _BODY_LIMIT_BYTES
    _add_errors(app)
    _add_generate(app, service)
    _add_control(app, service)
    _add_observation(app, service)
    chat.add_routes(app, service)
    completions.add_routes(app, service)
    return app


def _add_errors(app: QuartTrio) -> None:
    @app.errorhandler(ContractError)
    async def broken_contract(error: ContractError) -> Response:
        return reply({"error": str(error)}, 400)

    @app.errorhandler(RequestError)
    async def refused(error: RequestError) -> Response:
        return reply({"error": {"message": str(error)}}, 400)

    @app.errorhandler(MalformedJson)
    async def malformed(error: MalformedJson) -> Response:
        return flat_error(str(error), "Bad Request")


def _add_generate(app: QuartTrio, service: Service) -> None:
    @app.route("/generate", methods=["POST", "PUT"])
    async def generate() -> Response:
        body = parse_object(await request.get_data())
        intake = read_generate(body, service.speller, service.limits)
        if intake.stream:
            service.engine.check_rids(intake.sequences)
            return events(_stream(service, intake))
        await finished(service.engine, intake)
        version = service.engine.weight_version
        answers = [answer(seq, service.speller, version) for seq in intake.sequences]
        return reply(answers if intake.is_list else answers[0])


async def _stream(service: Service, intake: Intake) -> AsyncIterator[bytes]:
    engine, progress = service.engine, Progress(intake)
    try:
        with engine.serving(intake.sequences):
            while not progress.ended:
                for index, seq, _ in await progress.news():
                    chunk = answer(seq, service.speller, engine.weight_version)
                    yield event({**chunk, "index": index} if intake.is_list else chunk)
    except RequestError as error:
        # Another request took the rid after this one was checked; the status is already sent.
        yield event(stream_error(str(error)))
    yield STREAM_END


def _add_control(app: QuartTrio, service: Service) -> None:
    engine = service.engine

    @app.post("/abort_request")
    async def abort_request() -> Response:
        body = parse_object(await request.get_data())
        engine.abort(str(body.get("rid") or ""), everything=body.get("abort_all") is True)
        return empty()

    @app.post("/pause_generation")
    async def pause_generation() -> Response:
        mode = parse_object(await request.get_data()).get("mode", "abort")
        if mode not in ("abort", "in_place", "retract"):
            raise RequestError("mode must be abort, in_place or retract")
        await engine.pause(str(mode))
        return reply({"message": "Generation paused successfully.", "status": "ok"})

    @app.post("/continue_generation")
    async def continue_generation() -> Response:
        engine.resume()
        return reply({"message": "Generation continued successfully.", "status": "ok"})

    @app.post("/update_weight_version")
    async def update_weight_version() -> Response:
        body = parse_object(await request.get_data())
        version = body.get("new_version")
        if not isinstance(version, str):
            raise ContractError("invalid type for `new_version`: expected a string")
        engine.set_weight_version(version, abort_all=body.get("abort_all_requests", True) is True)
        message = f"Weight version updated to {version}"
        return reply({"success": True, "message": message, "new_version": version})

    @app.route("/flush_cache", methods=["GET", "POST"])
    async def flush_cache() -> tuple[str, int, dict[str, str]]:
        timeout_s = request.args.get("timeout", 0.0, type=float)
        flushed = await engine.flush()
        with trio.move_on_after(timeout_s):
            while not flushed:
                await trio.sleep(0.05)
                flushed = await engine.flush()
        text = "Cache flushed.\n" if flushed else "Cache not flushed: requests run or wait.\n"
        return text, 200 if flushed else 400, {"Content-Type": "text/plain"}


def _add_observation(app: QuartTrio, service: Service) -> None:
    engine, facts = service.engine, service.facts
    started_s = time.monotonic()

    @app.get("/health")
    @app.get("/health_generate")
    async def health() -> Response:
        return empty(200 if await is_healthy(service) else 503)

    @app.get("/ready")
    async def ready() -> Response:
        return empty(503 if engine.paused else 200)

    @app.get("/model_info")
    @app.get("/get_model_info")
    async def model_info() -> Response:
        return reply(describe_model(facts, engine.weight_version))

    @app.get("/server_info")
    @app.get("/get_server_info")
    async def server_info() -> Response:
        uptime_s = time.monotonic() - started_s
        states = [{**engine.load, "paused": engine.paused, "steps": engine.steps}]
        return reply({**asdict(facts), "uptime_s": uptime_s, "internal_states": states})

    @app.get("/v1/models")
    async def models() -> Response:
        card = {
            "id": facts.served_model_name,
            "object": "model",
            "owned_by": "transformers",
            "root": facts.model_path,
            "max_model_len": facts.context_tokens,
        }
        return reply({"object": "list", "data": [card]})


def describe_model(facts: Facts, weight_version: str) -> dict[str, object]:
    """The fields of /model_info."""
    return {
        "model_path": facts.model_path,
        "served_model_name": facts.served_model_name,
        "tokenizer_path": facts.model_path,
        "is_generation": True,
        "preferred_sampling_params": None,
        "weight_version": weight_version,
        "load_format": "auto",
        "reasoning_parser": None,
        "tool_call_parser": None,
        "disaggregation_mode": "null",
        "has_image_understanding": False,
        "has_audio_understanding": False,
        "model_type": facts.model_type,
        "architectures": facts.architectures,
    }
