"""Comparing what came with what must have come. Pure; every finding is a sentence for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from miles_router.core.counted import counted
from miles_router.demo.transcript import told_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from miles_router.demo.retrieval import Retrieved
    from miles_router.demo.tally import Exchange, Tally
    from miles_router.demo.transcript import ToldTurn

LOGPROB_TOLERANCE = 1e-3
_SHOWN_CHARS = 60


def first_difference(expected: Any, actual: Any, path: str = "answer") -> str | None:
    """Where two JSON values differ first, and how; None if they are equal, order of keys aside."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return _difference_of_objects(expected, actual, path)
    if isinstance(expected, list) and isinstance(actual, list):
        for place, (one, other) in enumerate(zip(expected, actual, strict=False)):
            found = first_difference(one, other, f"{path}[{place}]")
            if found is not None:
                return found
        if len(expected) != len(actual):
            return f"{path} has {len(actual)} entries, not {len(expected)}"
        return None
    # 1 == True in Python, and not in JSON.
    if expected == actual and isinstance(expected, bool) == isinstance(actual, bool):
        return None
    return f"{path} is {_shown(actual)}, not {_shown(expected)}"


def _difference_of_objects(
    expected: Mapping[str, Any], actual: Mapping[str, Any], path: str
) -> str | None:
    for key in sorted(expected.keys() | actual.keys()):
        if key not in actual:
            return f"{path}.{key} is missing"
        if key not in expected:
            return f"{path}.{key} is {_shown(actual[key])}, which nobody generated"
        found = first_difference(expected[key], actual[key], f"{path}.{key}")
        if found is not None:
            return found
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."


def never_began(answer: Mapping[str, Any]) -> bool:
    """Whether this is the answer of a request that was aborted while it waited for its turn."""
    meta = answer.get("meta_info") or {}
    reason = (meta.get("finish_reason") or {}).get("type")
    nothing = not answer.get("text") and not answer.get("output_ids")
    return reason == "abort" and nothing and "prompt_tokens" not in meta


def doubled(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Requests that the logs of all workers together show generated to the end more than once."""
    counts = Counter(entry["rid"] for entry in entries if not entry["aborted"])
    return [f"{rid} was generated {count} times" for rid, count in counts.items() if count > 1]


def left_running(exchanges: Iterable[Exchange], entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Requests whose client left, and which a worker generated to the end all the same."""
    left = {exchange.rid for exchange in exchanges if exchange.was_left}
    return [
        f"{entry['rid']} was generated to its end although its client had left"
        for entry in entries
        if entry["rid"] in left and not entry["aborted"]
    ]


def check_cut(tally: Tally) -> list[str]:
    """Streams that broke off although their worker was not killed."""
    return [
        f"{exchange.rid}: its stream broke off, and its worker {exchange.worker} was not killed"
        for exchange in tally.exchanges
        if exchange.was_cut and exchange.worker not in tally.killed
    ]


def check_fresh(tally: Tally, old: str) -> list[str]:
    """Answers to what was asked after the last update that have tokens of `old` weights."""
    if tally.updated_at is None:
        return []
    return [
        f"{exchange.rid}: it has tokens of {old}, and was asked after all workers had other weights"
        for exchange in tally.exchanges
        if exchange.started_at > tally.updated_at
        and any(name == old for name, _, _ in told_versions(exchange.answer or {}))
    ]


def check_logged(
    turn: ToldTurn, logged: Mapping[str, Any] | None, killed: Collection[str]
) -> list[str]:
    """What a worker's log says otherwise than its answer; a killed worker has forgotten its own."""
    exchange = turn.exchange
    if logged is None:
        if exchange.worker in killed:
            return []
        return [f"worker {exchange.worker} does not know that it answered"]
    told = {
        "prompt_ids": list(turn.prompt_ids),
        "output_ids": list(turn.output_ids),
        "logprobs": list(turn.logprobs or ()),
        "weight_versions": [
            {"version": name, "start": start, "end": end} for name, start, end in turn.versions
        ],
        "aborted": exchange.was_aborted,
    }
    found = [first_difference(told[key], logged.get(key), f"the log's {key}") for key in told]
    return [finding for finding in found if finding is not None]


def check_shape(exchange: Exchange, *, decode: Callable[[Sequence[int]], str]) -> list[str]:
    """What is wrong with an answer of a real model to a client that asked for everything, as far as
    the answer itself shows it."""
    answer = exchange.answer or {}
    if exchange.interruption is not None and never_began(answer):
        return []
    meta = answer.get("meta_info") or {}
    prompt_ids, output_ids = answer.get("prompt_token_ids"), answer.get("output_ids")
    if not isinstance(prompt_ids, list) or not isinstance(output_ids, list):
        return ["prompt_token_ids or output_ids is missing"]
    entries = meta.get("output_token_logprobs") or []
    rules = (
        (decode(prompt_ids) == exchange.body["text"], "prompt_token_ids do not spell the prompt"),
        (decode(output_ids) == answer.get("text"), "output_ids do not spell the text"),
        ([entry[1] for entry in entries] == output_ids, "log-probabilities are of other tokens"),
        (meta.get("prompt_tokens") == len(prompt_ids), "prompt_tokens is another number"),
        *_rules_of_any(exchange, meta, output_ids),
    )
    return [finding for holds, finding in rules if not holds]


def check_plain(exchange: Exchange, *, decode: Callable[[Sequence[int]], str]) -> list[str]:
    """What is wrong with an answer of a real model to a client that asked for nothing but text.

    `decode` spells what such a client sees of some ids.
    """
    answer = exchange.answer or {}
    if exchange.interruption is not None and never_began(answer):
        return []
    meta, output_ids = answer.get("meta_info") or {}, answer.get("output_ids")
    if not isinstance(output_ids, list):
        return ["output_ids is missing"]
    extras = sorted({"prompt_token_ids"} & answer.keys())
    extras += sorted(key for key in meta if "logprobs" in key or key == "routed_experts")
    rules = (
        (not extras, f"it has what nobody asked for: {', '.join(extras)}"),
        (decode(output_ids) == answer.get("text"), "output_ids do not spell the text"),
        *_rules_of_any(exchange, meta, output_ids),
    )
    return [finding for holds, finding in rules if not holds]


def _rules_of_any(
    exchange: Exchange, meta: Mapping[str, Any], output_ids: Sequence[int]
) -> tuple[tuple[bool, str], ...]:
    params = exchange.body["sampling_params"]
    return (
        (meta.get("id") == exchange.rid, f"it carries the id {meta.get('id')!r}"),
        (meta.get("completion_tokens") == len(output_ids), "completion_tokens is another number"),
        (len(output_ids) <= params["max_new_tokens"], "it is longer than asked for"),
        (
            exchange.was_aborted or len(output_ids) >= params["min_new_tokens"],
            "it is shorter than asked for",
        ),
        (
            exchange.interruption is not None or not exchange.was_aborted,
            "it was aborted, and nobody asked for that",
        ),
    )


def check_reproduced(answer: Mapping[str, Any], scored: Mapping[str, Any]) -> list[str]:
    """Whether a worker that scores prompt and answer finds the answer's log-probabilities again.

    Args:
        answer: as it came to the client.
        scored: answer to `input_ids` = prompt and answer, `logprob_start_len` at the last token of
            the prompt: its first entry has no log-probability, then one for each answer token.
    """
    given = [(entry[1], entry[0]) for entry in answer["meta_info"]["output_token_logprobs"]]
    again = [(entry[1], entry[0]) for entry in scored["meta_info"]["input_token_logprobs"][1:]]
    return _first_not_reproduced(given, again)


def check_trajectory_reproduced(retrieved: Retrieved, scored: Mapping[str, Any]) -> list[str]:
    """Whether one forward pass over a whole trajectory finds the log-probabilities again that were
    recorded for what was generated in it.

    Args:
        retrieved: the trajectory.
        scored: answer to `input_ids` = its tokens, `logprob_start_len` 0.
    """
    entries = scored["meta_info"]["input_token_logprobs"]
    if len(entries) != len(retrieved.tokens):
        return [f"{len(entries)} tokens were scored again, not {len(retrieved.tokens)}"]
    places = [place for place, is_made in enumerate(retrieved.loss_mask) if is_made]
    given = [(retrieved.tokens[place], retrieved.rollout_logp[place]) for place in places]
    return _first_not_reproduced(given, [(entries[one][1], entries[one][0]) for one in places])


def _first_not_reproduced(
    given: Sequence[tuple[int, float | None]], again: Sequence[tuple[int, float | None]]
) -> list[str]:
    if len(given) != len(again):
        return [f"{len(again)} tokens were scored again, not {len(given)}"]
    for place, ((token, value), (token_again, value_again)) in enumerate(
        zip(given, again, strict=True)
    ):
        if token != token_again or not _is_close(value, value_again):
            return [
                f"token {place} ({token}) came with log-probability {value}, "
                f"and scored again it is {token_again} with {value_again}"
            ]
    return []


def _is_close(value: float | None, other: float | None) -> bool:
    return value is not None and other is not None and abs(value - other) <= LOGPROB_TOLERANCE


def check_workers(workers: Iterable[Mapping[str, Any]], urls: Collection[str]) -> list[str]:
    """What must hold of the router's workers at the end: all there, active, holding nothing."""
    found = {worker["url"]: worker for worker in workers}
    findings = [f"{url} is not a worker any more" for url in urls if url not in found]
    for url, worker in found.items():
        if worker["status"] != "active":
            findings.append(f"{url} is {worker['status']} at the end, not active")
        if worker["inflight"]:
            held = counted(worker["inflight"], "request")
            findings.append(f"{url} holds {held} after the last answer")
    return findings
