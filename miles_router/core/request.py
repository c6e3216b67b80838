"""What kind of request this is: the router's own, engine control, or one to relay.

Classification works on the decoded, normalised path, because that is what the worker's framework
matches on; what is forwarded is the path as it came. This file must not know sockets or ASGI.

The control set is every route of SGLang 0.5.23 (`http_server.py`) that changes an engine or shows
its insides, together with names of older versions.
"""

from __future__ import annotations

import posixpath
import re
from enum import StrEnum
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
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
        "/snapshot",
        "/events",
        "/openapi.json",
    }
)

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
        "/clear_hicache_storage_backend",
    }
)
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
        "/v1/embeddings",
        "/v1/score",
        "/v1/rerank",
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
    if path in OWN_PATHS or path.startswith("/workers/"):
        return PathClass.OWN
    if path in CONTROL_PATHS or path.startswith(CONTROL_PREFIXES):
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


def rids_in(body: bytes) -> tuple[str, ...]:
    """The ids under which a worker runs a JSON body; empty if it names none or is no such body.

    A batch with one string for `rid` runs as rid_0, rid_1, ... (SGLang 0.5.23, io_struct.py), and a
    worker aborts only what it is told by exactly such an id (tokenizer_manager.py).
    """
    try:
        rid = _NAMED.decode(body).rid
    except _NO_SUCH_BODY:
        return ()
    if rid is None:
        return ()
    if not isinstance(rid, str):
        return tuple(rid)
    size = _batch_size(body)
    return (rid,) if size is None else tuple(f"{rid}_{index}" for index in range(size))


def is_batch(body: bytes) -> bool:
    """Whether a JSON body holds several prompts, so that its answer is a list."""
    return _batch_size(body) is not None


def wants_stream(body: bytes) -> bool:
    """Whether a JSON body asks for a streamed answer."""
    try:
        return bool(_STREAMING.decode(body).stream)
    except _NO_SUCH_BODY:
        return False
