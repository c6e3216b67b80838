"""How busy a worker is, in the two forms of SGLang 0.5.23: GET /v1/loads and GET /metrics.

Sections, filters and names follow its `entrypoints/v1_loads.py` and `managers/load_snapshot.py`. A
simulated worker is one data-parallel rank, holds no weights and builds no graphs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import trio

from miles_router.sim.http import Reply
from miles_router.sim.refusals import malformed
from miles_router.sim.route import Route, get

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.sim.http import Request
    from miles_router.sim.worker import Worker

SGLANG_VERSION = "0.5.23"
_SECTIONS = frozenset({"core", "memory", "spec", "lora", "disagg", "queues", "all"})
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def _core(worker: Worker) -> dict[str, Any]:
    engine, settings = worker.engine, worker.settings
    used = sum(len(one.item.prompt_ids) + len(one.output_ids) for one in engine.running.values())
    total = settings.max_running * settings.context_tokens
    return {
        "timestamp": trio.current_time(),
        "dp_rank": 0,
        "num_running_reqs": len(engine.running),
        "num_waiting_reqs": len(engine.queue),
        "num_used_tokens": used,
        "num_total_tokens": used + sum(len(one.item.prompt_ids) for one in engine.queue),
        "max_total_num_tokens": total,
        "max_running_requests": settings.max_running,
        "token_usage": used / total,
        "gen_throughput": settings.tokens_per_s * len(engine.running),
        "cache_hit_rate": 0.0,
        "utilization": len(engine.running) / settings.max_running,
    }


def _load(worker: Worker, include: frozenset[str]) -> dict[str, Any]:
    """One rank's load with the sections that are asked for."""
    engine, load = worker.engine, _core(worker)
    if include & {"memory", "all"}:
        load["memory"] = {
            "weight_gb": 0.0,
            "kv_cache_gb": 0.0,
            "graph_gb": 0.0,
            "token_capacity": load["max_total_num_tokens"],
        }
    if include & {"queues", "all"}:
        load["queues"] = {
            "waiting": len(engine.queue),
            "grammar": 0,
            "paused": len(engine.running) if engine.is_paused else 0,
            "retracted": sum(one.num_retractions > 0 for one in engine.queue),
            "prealloc_ready": 0,
        }
    return load


def _asked(request: Request) -> tuple[frozenset[str], bool]:
    """Which sections, and whether rank 0 is among the ranks."""
    include = request.query.get("include", "all") or "all"
    sections = frozenset(part.strip() for part in include.split(","))
    if not sections <= _SECTIONS:
        raise malformed(f"Invalid include sections: {sorted(sections - _SECTIONS)}.")
    rank = request.query.get("dp_rank", "0")
    if not rank.lstrip("-").isdecimal():
        raise malformed("query.dp_rank: Input should be a valid integer")
    return sections, int(rank) == 0


async def _loads(worker: Worker, request: Request) -> Reply:
    sections, has_rank = _asked(request)
    loads = [_load(worker, sections)] if has_rank else []
    if request.query.get("format") == "prometheus":
        return Reply.text(_load_page(loads), kind=_PROMETHEUS)
    return Reply.json(
        {
            "timestamp": datetime.now(UTC).isoformat(),
            "version": SGLANG_VERSION,
            "accelerator": "sim",
            "num_accelerators": 0,
            "loads": loads,
        }
    )


def _load_page(loads: Iterable[dict[str, Any]]) -> str:
    """The loads as gauges, one for each number, nested ones under the name of their section."""
    lines = []
    for load in loads:
        rank = load.pop("dp_rank")
        for key, value in load.items():
            numbers = value.items() if isinstance(value, dict) else ((None, value),)
            for inner, number in numbers:
                name = f"sglang_{key}" if inner is None else f"sglang_{key}_{inner}"
                lines += [f"# TYPE {name} gauge", f'{name}{{dp_rank="{rank}"}} {number}']
    return "\n".join(lines) + "\n"


async def _metrics(worker: Worker, _request: Request) -> Reply:
    engine, load = worker.engine, _core(worker)
    labels = {"model_name": engine.served_model_name}
    rows = (
        ("num_running_reqs", "gauge", load["num_running_reqs"]),
        ("num_queue_reqs", "gauge", load["num_waiting_reqs"]),
        ("token_usage", "gauge", load["token_usage"]),
        ("cache_hit_rate", "gauge", load["cache_hit_rate"]),
        ("gen_throughput", "gauge", load["gen_throughput"]),
        ("prompt_tokens_total", "counter", engine.prompt_tokens),
        ("generation_tokens_total", "counter", engine.generated_tokens),
        ("num_requests_total", "counter", engine.total),
        ("num_aborted_requests_total", "counter", engine.aborted),
    )
    lines = []
    for name, kind, value in rows:
        lines += [f"# TYPE sglang:{name} {kind}", _sample(name, labels, value)]
    lines.append("# TYPE sglang:http_requests_active gauge")
    for (path, method), count in sorted(worker.stats.active.items()):
        labels = {"endpoint": path, "method": method}
        lines.append(_sample("http_requests_active", labels, count))
    return Reply.text("\n".join(lines) + "\n", kind=_PROMETHEUS)


def _sample(name: str, labels: dict[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"sglang:{name}{{{shown}}} {float(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


ROUTES: dict[str, Route] = {"/v1/loads": get(_loads), "/metrics": get(_metrics)}
