"""Control routes of SGLang 0.5.23: health, what is served, weights, pausing, the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from miles_router.sim.http import Reply
from miles_router.sim.loads import SGLANG_VERSION
from miles_router.sim.refusals import malformed
from miles_router.sim.route import Route, get, post, read_object

if TYPE_CHECKING:
    from miles_router.sim.http import Request
    from miles_router.sim.worker import Worker

HEALTH_TIMEOUT_S = 20.0
"""SGLANG_HEALTH_CHECK_TIMEOUT's default: so long /health waits for its token before it says 503."""

_FLUSHED = (
    "Cache flushed.\nPlease check backend logs for more details. "
    "(When there are running or waiting requests, the operation will not be performed.)\n"
)
_BUSY = "Flush cache failed: there are running or waiting requests.\n"


async def _health(worker: Worker, _request: Request) -> Reply:
    """SGLang generates a token for its health, which waits at the gate as any request does."""
    await trio.sleep(worker.settings.health_delay_s)
    with trio.move_on_after(HEALTH_TIMEOUT_S) as waiting:
        await worker.wait_open()
    return Reply(503 if waiting.cancelled_caught else 200)


async def _ready(worker: Worker, _request: Request) -> Reply:
    return Reply(503 if worker.engine.is_paused else 200)


async def _ping(_worker: Worker, _request: Request) -> Reply:
    return Reply(200)


async def _model_info(worker: Worker, _request: Request) -> Reply:
    engine = worker.engine
    return Reply.json(
        {
            "model_path": engine.model_path,
            "served_model_name": engine.served_model_name,
            "tokenizer_path": worker.settings.model_path,
            "is_generation": True,
            "preferred_sampling_params": None,
            "weight_version": engine.weight_version,
            "load_format": "auto",
            "reasoning_parser": None,
            "tool_call_parser": None,
            "disaggregation_mode": "null",
            "has_image_understanding": False,
            "has_audio_understanding": False,
            "model_type": "sim",
            "architectures": ["SimForCausalLM"],
        }
    )


async def _server_info(worker: Worker, _request: Request) -> Reply:
    settings, engine = worker.settings, worker.engine
    return Reply.json(
        {
            "model_path": engine.model_path,
            "served_model_name": engine.served_model_name,
            "host": settings.host,
            "port": settings.port,
            "context_length": settings.context_tokens,
            "max_running_requests": settings.max_running,
            "max_queued_requests": settings.max_queued,
            "random_seed": settings.seed,
            "weight_version": engine.weight_version,
            "incremental_streaming_output": settings.incremental_streaming,
            "enable_return_routed_experts": settings.routed_experts,
            "startup_time": 0.0,
            "internal_states": [{"weight_version": engine.weight_version}],
            "version": SGLANG_VERSION,
        }
    )


async def _flush_cache(worker: Worker, request: Request) -> Reply:
    try:
        timeout_s = float(request.query.get("timeout", "0"))
    except ValueError:
        raise malformed("query.timeout: Input should be a valid number") from None
    engine = worker.engine
    with trio.move_on_after(timeout_s):
        await worker.wait_idle()
    # What a pause has retracted holds no cache any more: it waits without being in the way.
    if engine.running or (engine.queue and not engine.is_paused):
        return Reply.text(_BUSY, 400)
    engine.cache.clear()
    return Reply.text(_FLUSHED)


async def _pause_generation(worker: Worker, request: Request) -> Reply:
    mode = (await read_object(worker, request)).get("mode", "abort")
    if mode not in {"abort", "in_place", "retract"}:
        raise malformed("body.mode: Input should be 'abort', 'retract' or 'in_place'")
    worker.pause(mode)
    return Reply.json({"message": "Generation paused successfully.", "status": "ok"})


async def _continue_generation(worker: Worker, request: Request) -> Reply:
    await read_object(worker, request)
    worker.resume()
    return Reply.json({"message": "Generation continued successfully.", "status": "ok"})


async def _update_weight_version(worker: Worker, request: Request) -> Reply:
    body = await read_object(worker, request)
    version = body.get("new_version")
    if not isinstance(version, str):
        raise malformed("body.new_version: Input should be a valid string")
    if body.get("abort_all_requests", True):
        worker.abort("", abort_all=True)
    worker.engine.set_weight_version(version)
    message = f"Weight version updated to {version}"
    return Reply.json({"success": True, "message": message, "new_version": version})


async def _update_weights(worker: Worker, request: Request) -> Reply:
    body = await read_object(worker, request)
    version, model_path = body.get("weight_version"), body.get("model_path")
    if version is not None and not isinstance(version, str):
        raise malformed("body.weight_version: Input should be a valid string")
    from_disk = request.path.endswith("_from_disk")
    if from_disk and not isinstance(model_path, str):
        raise malformed("body.model_path: Field required")
    if body.get("abort_all_requests", False):
        worker.abort("", abort_all=True)
    paused = len(worker.engine.running) + len(worker.engine.queue)
    await worker.update_weights(version, model_path if from_disk else None)
    if body.get("flush_cache", True):
        worker.engine.cache.clear()
    answer: dict[str, Any] = {"success": True, "message": "Succeeded to update model weights."}
    if from_disk:
        answer["num_paused_requests"] = paused if worker.engine.is_paused else 0
    return Reply.json(answer)


async def _accepted(worker: Worker, request: Request) -> Reply:
    """Commands whose effect no client of a simulated worker can see."""
    worker.stats.note_body(request, await request.body())
    return Reply.json({"success": True, "message": "Success."})


async def _profile(worker: Worker, request: Request) -> Reply:
    worker.stats.note_body(request, await request.body())
    started = request.path == "/start_profile"
    return Reply.text(
        "Start profiling.\n" if started else "Stop profiling. This will take some time.\n"
    )


ROUTES: dict[str, Route] = {
    "/health": get(_health),
    "/health_generate": get(_health),
    "/ready": get(_ready),
    "/ping": get(_ping),
    "/model_info": get(_model_info),
    "/get_model_info": get(_model_info),
    "/server_info": get(_server_info),
    "/get_server_info": get(_server_info),
    "/flush_cache": post(_flush_cache, "GET"),
    "/pause_generation": post(_pause_generation),
    "/continue_generation": post(_continue_generation),
    "/update_weight_version": post(_update_weight_version),
    "/update_weights_from_disk": post(_update_weights),
    "/update_weights_from_tensor": post(_update_weights),
    "/update_weights_from_distributed": post(_update_weights),
    "/update_weights_from_ipc": post(_update_weights),
    "/start_profile": post(_profile, "GET"),
    "/stop_profile": post(_profile, "GET"),
    **dict.fromkeys(
        (
            "/init_weights_update_group",
            "/destroy_weights_update_group",
            "/begin_weight_update",
            "/end_weight_update",
            "/release_memory_occupation",
            "/resume_memory_occupation",
            "/load_lora_adapter",
            "/unload_lora_adapter",
            "/set_internal_state",
            "/slow_down",
            "/freeze_gc",
            "/configure_logging",
        ),
        post(_accepted),
    ),
    "/weights_checker": post(_accepted, "GET"),
}
