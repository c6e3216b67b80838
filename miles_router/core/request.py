"""What kind of request this is: the router's own, engine control, or one to relay.

Classification works on the decoded, normalised path, because that is what the worker's framework
matches on; what is forwarded is the path as it came. This file must not know sockets or ASGI.

The control set is every route of SGLang 0.5.23 (`http_server.py` and the routers it includes) that
its `AuthLevel` keeps for admins, or that changes an engine, with the names of older versions.
"""

from __future__ import annotations

import posixpath
import re
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote

import msgspec


class PathClass(StrEnum):
    """Label of a request in metrics: few values, whatever clients send."""

    GENERATE = "generate"
    CHAT = "chat"
    COMPLETIONS = "completions"
    OTHER = "other"
    CONTROL = "control"
    OWN = "own"


# What workers answer. Embeddings, scores and routes that this version does not know are among the
# others: whoever counts requests per second means all of them.
RELAYED_CLASSES = frozenset(PathClass) - {PathClass.OWN, PathClass.CONTROL}

OWN_PATHS = frozenset(
    {
        "/add_worker",
        "/remove_worker",
        "/list_workers",
        "/workers",
        "/get_loads",
        "/flush_cache",
        "/engine_metrics",
        "/abort_request",
        "/finish_session",
        "/retrieve_from_text",
        "/trajectories",
        "/cache/gc",
        "/cache/stats",
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
        "/snapshot",
        "/events",
        "/log",
        "/openapi.json",
    }
)

OWN_PREFIXES = ("/workers/", "/trajectories/")

CONTROL_PATHS = frozenset(
    {
        "/init_weights_update_group",
        "/destroy_weights_update_group",
        "/begin_weight_update",
        "/end_weight_update",
        "/init_weights_send_group_for_remote_instance",
        "/send_weights_to_remote_instance",
        "/get_remote_instance_transfer_engine_info",
        "/remote_instance_transfer_engine_info",
        "/get_weights_by_name",
        "/weights_checker",
        "/pause_generation",
        "/continue_generation",
        "/release_memory_occupation",
        "/resume_memory_occupation",
        "/load_lora_adapter",
        "/load_lora_adapter_from_tensors",
        "/unload_lora_adapter",
        "/set_internal_state",
        "/slow_down",
        "/start_profile",
        "/stop_profile",
        "/set_trace_level",
        "/freeze_gc",
        "/configure_logging",
        "/start_expert_distribution_record",
        "/stop_expert_distribution_record",
        "/dump_expert_distribution_record",
        "/pd_role_switch",
        "/add_external_corpus",
        "/remove_external_corpus",
        "/list_external_corpora",
        "/scale_elastic_ep",
        "/is_scaling_elastic_ep",
        "/clear_hicache_storage_backend",
    }
)
# Reads that show how a worker was started, its own keys included (SGLang 0.5.23: `api_key`,
# `admin_api_key`, `launch_command`). Guarded as control; clients expect the answer of one worker.
ONE_WORKER_PATHS = frozenset({"/server_info", "/get_server_info"})
CONTROL_PREFIXES = ("/update_weight", "/hicache/", "/dumper/")

_GENERATION = {
    "/generate": PathClass.GENERATE,
    "/v1/chat/completions": PathClass.CHAT,
    "/v1/completions": PathClass.COMPLETIONS,
}
# Endpoints whose requests change nothing on a worker but generate: they may be repeated elsewhere.
_MORE_GENERATION = frozenset(
    {
        "/v1/responses",
        "/v1/messages",
        "/v1/audio/transcriptions",
        "/v1/classify",
        "/v1/decisions",
        "/v1/embeddings",
        "/v1/score",
        "/v1/rerank",
        "/v1/systemone",
        "/encode",
        "/classify",
        "/invocations",
        "/vertex_generate",
        "/api/chat",
        "/api/generate",
    }
)
_SLASHES = re.compile(r"/{2,}")


def matched_path(raw_path: str) -> str:
    """The path a web framework would match: decoded, without doubled or trailing slashes."""
    path = unquote(raw_path)
    path = posixpath.normpath(_SLASHES.sub("/", "/" + path.lstrip("/")))
    return path if path != "." else "/"


def classify(path: str) -> PathClass:
    """The class of a path made by `matched_path`."""
    if path in OWN_PATHS or path.startswith(OWN_PREFIXES):
        return PathClass.OWN
    if path in CONTROL_PATHS or path in ONE_WORKER_PATHS or path.startswith(CONTROL_PREFIXES):
        return PathClass.CONTROL
    return _GENERATION.get(path, PathClass.OTHER)


def is_generation(path: str) -> bool:
    """Whether a request to `path` only generates, so that it may be sent to another worker."""
    return path in _GENERATION or path in _MORE_GENERATION


# One struct per question: an odd value in one field must not hide the other.
class _Named(msgspec.Struct):
    rid: str | list[str] | None = None


class _Streaming(msgspec.Struct):
    stream: bool | None = None


_NAMED = msgspec.json.Decoder(_Named)
_STREAMING = msgspec.json.Decoder(_Streaming)
# msgspec raises UnicodeDecodeError for a string that is no UTF-8.
_NO_SUCH_BODY = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Sampling(msgspec.Struct):
    n: int | None = None


class _Sampled(msgspec.Struct):
    sampling_params: _Sampling | list[_Sampling | None] | None = None


_SAMPLED = msgspec.json.Decoder(_Sampled)
_SAMPLING = msgspec.json.Decoder(_Sampling)


class _Prompts(msgspec.Struct):
    text: msgspec.Raw = msgspec.Raw(b"")
    input_ids: msgspec.Raw = msgspec.Raw(b"")
    prompt: msgspec.Raw = msgspec.Raw(b"")  # /v1/completions: texts or token lists


_PROMPTS = msgspec.json.Decoder(_Prompts)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


def _begins_list(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b"["


def _batch_size(body: bytes) -> int | None:
    """How many prompts `body` holds as a list; None for a single prompt."""
    try:
        prompts = _PROMPTS.decode(body)
        for raw in (prompts.text, prompts.input_ids, prompts.prompt):
            if _begins_list(raw):
                items = _ITEMS.decode(raw)
                if not items:
                    return 0 if raw is prompts.text else None
                # A list of bare numbers is the tokens of one prompt.
                is_one = bytes(memoryview(items[0])[:1]).isdigit()
                return None if is_one else len(items)
    except _NO_SUCH_BODY:
        pass
    return None


def _makes_samples(body: bytes) -> bool:
    """Whether `body` asks for several samples of a prompt: in `sampling_params`, or as `n`."""
    if b'"n"' not in body and b"\\u" not in body:  # a key may be written in escapes
        return False
    given: list[_Sampling | None] = []
    with suppress(*_NO_SUCH_BODY):
        params = _SAMPLED.decode(body).sampling_params
        given += params if isinstance(params, list) else [params]
    with suppress(*_NO_SUCH_BODY):
        given.append(_SAMPLING.decode(body))  # /v1/completions and /v1/chat/completions
    return any(one is not None and (one.n or 1) > 1 for one in given)


class Rids(NamedTuple):
    """The ids of a request, in the one place or in the other."""

    on_worker: tuple[str, ...] = ()  # under which a worker runs it
    of_caller: tuple[str, ...] = ()  # what only its caller knows it by


_NO_RIDS = Rids()


def find_rids(body: bytes) -> Rids:
    """The ids that a JSON body names; none if it names none or is no such body.

    A batch with one string for `rid` runs as rid_0, rid_1, ... (SGLang 0.5.23, io_struct.py), and a
    worker aborts only what it is told by exactly such an id. Several samples of one prompt run
    under new ids that the worker makes and tells nobody (tokenizer_manager.py).
    """
    if b"rid" not in body and b"\\u" not in body:  # a key may be written in escapes
        return _NO_RIDS
    try:
        rid = _NAMED.decode(body).rid
    except _NO_SUCH_BODY:
        return Rids()
    if not rid:
        return Rids()
    if _makes_samples(body):
        return Rids(of_caller=(rid,) if isinstance(rid, str) else tuple(rid))
    if not isinstance(rid, str):
        return Rids(on_worker=tuple(rid))
    size = _batch_size(body)
    return Rids((rid,) if size is None else tuple(f"{rid}_{index}" for index in range(size)))


def is_batch(body: bytes) -> bool:
    """Whether a JSON body asks for several generations, so that its answer is a list."""
    return _batch_size(body) is not None or _makes_samples(body)


def wants_stream(body: bytes) -> bool:
    """Whether a JSON body asks for a streamed answer."""
    try:
        return bool(_STREAMING.decode(body).stream)
    except _NO_SUCH_BODY:
        return False
