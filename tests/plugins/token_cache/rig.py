"""The token cache around a worker that a test scripts, without sockets."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import trio

from miles_router.core.events import EventLog
from miles_router.core.r3 import ExpertShape
from miles_router.core.trajectory.reading import Missing, Reading, read_text
from miles_router.core.trajectory.store import StoreLimits, TrajectoryStore
from miles_router.net.token_cache import TokenCache
from miles_router.plugins.token_cache.middleware import TokenCacheMiddleware
from miles_router.plugins.tokenizer import load_tokenizer
from miles_router.sim.tokenizer import tokenizer_dir
from tests.net.test_token_cache import noting
from tests.web.asgi_client import Answer, AsgiClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.core.tokenizing import Tokenizer

Reply = dict[str, Any] | list[Any] | bytes
EOS = "<|im_end|>"


@functools.cache
def sim_tokenizer() -> Tokenizer:
    """The project's own BPE, loaded once."""
    return load_tokenizer(str(tokenizer_dir()))


def ids_of(text: str) -> list[int]:
    return sim_tokenizer().encode(text, is_continuation=True).id_array.tolist()


def shown(ids: list[int], *, skip_special_tokens: bool = True) -> str:
    array = np.array(ids, dtype="<i4")
    run = sim_tokenizer().spell(array, skip_special_tokens=skip_special_tokens)
    return run.text.decode()


def drifting() -> tuple[list[int], list[int]]:
    """Two id sequences with one text, the first of which is not what a tokenizer makes of it."""
    tokenizer = sim_tokenizer()
    for word in (" the", " and", " that", " with", " there", "ing"):
        whole = ids_of(word)
        parts = [token for letter in word for token in ids_of(letter)]
        if whole != parts and shown(parts) == shown(whole):
            return parts, whole
    raise AssertionError(f"{tokenizer.name} has no such word")


@dataclass
class Worker:
    """Answers with what `reply` makes of a request; keeps the requests."""

    reply: Callable[[dict[str, Any]], Reply]
    seen: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)
    status: int = 200
    answer_headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
    piece_bytes: int = 100

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            assert message["type"] == "http.request"
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bodies.append(body)
        self.headers.append(dict(scope["headers"]))
        try:
            request = json.loads(body)
        except ValueError:
            request = {}
        self.seen.append(request)
        reply = self.reply(request)
        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        headers = [*self.answer_headers, (b"x-miles-worker", b"w1")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for at in range(0, len(data), self.piece_bytes):
            piece = data[at : at + self.piece_bytes]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @property
    def last(self) -> dict[str, Any]:
        return self.seen[-1]


@dataclass
class Told:
    """What was reported to the pool."""

    versions: list[tuple[str, str]] = field(default_factory=list)

    def note_weight_version(self, worker_id: str, version: str) -> None:
        self.versions.append((worker_id, version))


class Stage:
    """A token cache, its worker and a client."""

    def __init__(
        self, reply: Callable[[dict[str, Any]], Reply], *, budget_bytes: int = 1 << 30, **more: Any
    ) -> None:
        self.logged: list[Any] = []
        self.events = EventLog()
        limits = StoreLimits(budget_bytes, 1 << 30, None, 8)
        self.cache = TokenCache(
            store=TrajectoryStore(limits),
            tokenizer=more.pop("tokenizer", sim_tokenizer()),
            shape=ExpertShape(more.pop("shape", None)),
            events=self.events,
            log=structlog.wrap_logger(structlog.ReturnLogger(), processors=[noting(self.logged)]),
            unix_offset_s=0.0,
            **more,
        )
        self.worker = Worker(reply)
        self.told = Told()
        app = TokenCacheMiddleware(
            self.worker,
            self.cache,
            self.told,  # type: ignore[arg-type]  # all that is used of it
            takes_part=lambda scope: scope["path"] == "/generate",
            tenant_of=lambda scope: dict(scope["headers"]).get(b"x-tenant", b"default").decode(),
        )
        self.client = AsgiClient(app)

    async def generate(self, body: Any, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with trio.fail_after(60):
            answer = await self.client.request("POST", "/generate", body, named)
        assert answer.is_complete
        return answer

    def read(self, text: str, **named: str) -> Reading:
        found = self.find(text, **named)
        assert isinstance(found, Reading), found
        return found

    def find(
        self,
        text: str,
        *,
        tenant: str = "default",
        session: str | None = None,
        rid: str | None = None,
    ) -> Reading | Missing:
        namespace = self.cache.store.namespace(tenant)
        if namespace is None:
            return Missing(0)
        gone = self.cache.store.gone
        return read_text(namespace, gone, text.encode(), session=session, rid=rid)

    @property
    def refused(self) -> dict[str, int]:
        return dict(self.cache.counters.refused)

    @property
    def stored(self) -> int:
        return self.cache.counters.stored


def answer(
    request: dict[str, Any],
    output: list[int],
    *,
    finish: dict[str, Any] | None = None,
    text: str | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """One item as SGLang answers it; `changes` go into meta_info, None takes a key away."""
    params = request.get("sampling_params") or {}
    if text is None:
        kept = output if params.get("no_stop_trim") else [one for one in output if one != EOS_ID]
        text = shown(kept, skip_special_tokens=params.get("skip_special_tokens", True))
    prompt = request.get("input_ids") or []
    meta: dict[str, Any] = {
        "id": request.get("rid") or "made-by-worker",
        "finish_reason": finish or {"type": "stop", "matched": EOS_ID},
        "prompt_tokens": len(prompt),
        "weight_version": "7",
        "num_retractions": 0,
    }
    if request.get("return_logprob"):
        meta["input_token_logprobs"] = []
        meta["output_token_logprobs"] = [[-0.5 - i, one, None] for i, one in enumerate(output)]
        meta["output_token_logprobs_length"] = len(output)
    meta |= {"reasoning_tokens": 0, "completion_tokens": len(output), "cached_tokens": 0}
    meta |= changes
    meta = {key: value for key, value in meta.items() if value is not None}
    return {"text": text, "output_ids": output, "meta_info": meta}


EOS_ID = int(ids_of(EOS)[0])


def replying(*outputs: list[int], **changes: Any) -> Callable[[dict[str, Any]], Reply]:
    """A worker that answers with these outputs, one after another, the last one for ever."""
    left = list(outputs)

    def reply(request: dict[str, Any]) -> Reply:
        return answer(request, left.pop(0) if len(left) > 1 else left[0], **changes)

    return reply


def logprobs(reading: Reading) -> list[float | None]:
    return [None if np.isnan(one) else float(one) for one in reading.logprobs]
