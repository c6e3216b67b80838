"""The rollout: dialogues over HTTP as a training framework drives them, every exchange recorded.

It repeats nothing by itself but the turn of a client that left on purpose, and one whose stream
broke off after it had begun; whatever else gets no usable answer is lost. It must not know what a
right answer is: `check` says what is wrong with one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import trio

from miles_router.core.headers import WORKER_HEADER
from miles_router.demo import plan
from miles_router.demo.plan import Interruption
from miles_router.demo.tally import Exchange, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from miles_router.demo.plan import Dialogue, Shape, TurnKey

ANSWER_TIMEOUT_S = 60.0
_SHOWN_CHARS = 300
# Of one turn: the client leaves, and then a worker dies under its stream.
_ATTEMPTS = 3
_WORKER_HEADER = WORKER_HEADER.decode()
_STREAM_END = b"data: [DONE]"


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came: all None where the client left before the answer."""

    status: int | None = None
    answer: dict[str, Any] | None = None
    fault: str | None = None
    worker: str | None = None
    was_cut: bool = False


class Rollout:
    """Drives the dialogues through one router.

    Args:
        client: its base URL is the router's; see `open_client`.
        shape: of the requests.
        tally: gets every exchange.
        check: what is wrong with an exchange that has an answer.
        interruptions: which turns their clients interrupt.
        interrupt_after_s: so long after it was sent.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        shape: Shape,
        tally: Tally,
        *,
        check: Callable[[Exchange], list[str]],
        interruptions: Mapping[TurnKey, Interruption],
        interrupt_after_s: float,
    ) -> None:
        self._client = client
        self._shape = shape
        self._tally = tally
        self._check = check
        self._interruptions = interruptions
        self._interrupt_after_s = interrupt_after_s

    async def run(self, dialogues: Sequence[Dialogue], *, concurrency: int) -> None:
        """Run all dialogues to their ends, `concurrency` at a time."""
        limit = trio.CapacityLimiter(concurrency)
        async with trio.open_nursery() as nursery:
            for dialogue in dialogues:
                nursery.start_soon(self._run_one, dialogue, limit)

    async def _run_one(self, dialogue: Dialogue, limit: trio.CapacityLimiter) -> None:
        async with limit:
            text = dialogue.opening
            for turn in range(self._shape.turns):
                answer = await self._turn(dialogue, turn, text)
                if answer is None:
                    self._tally.note_unasked(self._shape.turns - turn - 1)
                    return
                text = plan.next_prompt(text, str(answer["text"]), dialogue.tool_results[turn])

    async def _turn(self, dialogue: Dialogue, turn: int, text: str) -> dict[str, Any] | None:
        """The answer of one turn; None if it is lost."""
        interruption = self._interruptions.get((dialogue.key, turn))
        for attempt in range(_ATTEMPTS):
            body = plan.request_body(self._shape, dialogue, turn, text=text, attempt=attempt)
            exchange = await self._exchange(dialogue, turn, body, interruption)
            if not (exchange.was_left or exchange.was_cut):
                return exchange.answer
            interruption = None
        self._tally.lost.append(f"{exchange.rid}: its stream broke off again")
        return None

    async def _exchange(
        self,
        dialogue: Dialogue,
        turn: int,
        body: dict[str, Any],
        interruption: Interruption | None,
    ) -> Exchange:
        started_at = trio.current_time()
        patience_s = float("inf")
        if interruption is Interruption.DISCONNECT:
            patience_s = self._interrupt_after_s
        reply = _Reply()
        answered = trio.Event()
        async with trio.open_nursery() as nursery:
            if interruption is Interruption.ABORT:
                nursery.start_soon(self._abort, str(body["rid"]), answered)
            with trio.move_on_after(patience_s):
                reply = await self._ask(dialogue, body)
            answered.set()
        exchange = Exchange(
            body=body,
            turn=turn,
            interruption=interruption,
            status=reply.status,
            answer=reply.answer,
            fault=reply.fault,
            took_s=trio.current_time() - started_at,
            started_at=started_at,
            dialogue=dialogue.key,
            worker=reply.worker,
            was_cut=reply.was_cut,
        )
        faults = [] if reply.answer is None else self._check(exchange)
        self._tally.note(exchange, faults)
        return exchange

    async def _ask(self, dialogue: Dialogue, body: dict[str, Any]) -> _Reply:
        headers = {"X-SMG-Routing-Key": dialogue.key}
        # What is known when the connection breaks.
        status: int | None = None
        worker: str | None = None
        try:
            async with self._client.stream(
                "POST", "/generate", json=body, headers=headers
            ) as response:
                status, worker = response.status_code, response.headers.get(_WORKER_HEADER)
                data = await response.aread()
        except httpx.HTTPError as error:
            if status == 200 and dialogue.style.streams:
                return _Reply(status, worker=worker, was_cut=True)
            fault = f"no answer: {type(error).__name__} {error}".rstrip()
            return _Reply(status, fault=fault, worker=worker)
        if status != 200:
            return _Reply(status, fault=f"{status} {response.text[:_SHOWN_CHARS]}", worker=worker)
        answer = read_answer(data, is_stream=dialogue.style.streams)
        if answer is None:
            fault = f"200, but not an answer: {response.text[-_SHOWN_CHARS:]}"
            return _Reply(200, fault=fault, worker=worker)
        return _Reply(200, answer, worker=worker)

    async def _abort(self, rid: str, answered: trio.Event) -> None:
        with trio.move_on_after(self._interrupt_after_s):
            await answered.wait()
            return
        try:
            reply = await self._client.post("/abort_request", json={"rid": rid})
        except httpx.HTTPError as error:
            self._tally.broken.append(f"/abort_request for {rid}: {type(error).__name__} {error}")
            return
        # 502: the worker was killed as it was told. Its request runs elsewhere, to its end.
        if not reply.is_success and reply.status_code != 502:
            self._tally.broken.append(
                f"/abort_request for {rid}: {reply.status_code} {reply.text[:_SHOWN_CHARS]}"
            )


def read_answer(data: bytes, *, is_stream: bool) -> dict[str, Any] | None:
    """The JSON object with a text that an answer is; of a cumulative stream, its last chunk.

    None where there is none, or where the stream does not say that it is complete.
    """
    if is_stream:
        *events, end = [line for line in data.splitlines() if line] or [b""]
        if end != _STREAM_END or not events:
            return None
        data = events[-1].removeprefix(b"data: ")
    try:
        answer = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return None
    if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
        return None
    return answer


def open_client(url: str) -> httpx.AsyncClient:
    """A client for many requests at once, without proxies of the environment."""
    return httpx.AsyncClient(
        base_url=url,
        trust_env=False,
        timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=10.0),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
    )
