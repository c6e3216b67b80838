"""The rollout: dialogues over HTTP as a training framework drives them, every exchange recorded.

It repeats nothing by itself but the turn of a client that left on purpose; whatever else gets no
usable answer is lost. It must not know what a right answer is: `check` says what is wrong with one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import trio

from miles_router.demo import plan
from miles_router.demo.plan import Interruption
from miles_router.demo.tally import Exchange, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from miles_router.demo.plan import Dialogue, Shape, TurnKey

ANSWER_TIMEOUT_S = 60.0
_SHOWN_CHARS = 300

Outcome = tuple[int | None, dict[str, Any] | None, str | None]
"""Status, answer, and why there is none."""


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
        body = plan.request_body(self._shape, dialogue, turn, text=text)
        exchange = await self._exchange(dialogue, turn, body, interruption)
        if exchange.was_left:
            body = plan.request_body(self._shape, dialogue, turn, text=text, attempt=1)
            exchange = await self._exchange(dialogue, turn, body, None)
        return exchange.answer

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
        # None stays where the client leaves before the answer.
        status, answer, fault = None, None, None
        answered = trio.Event()
        async with trio.open_nursery() as nursery:
            if interruption is Interruption.ABORT:
                nursery.start_soon(self._abort, str(body["rid"]), answered)
            with trio.move_on_after(patience_s):
                status, answer, fault = await self._ask(dialogue, body)
            answered.set()
        exchange = Exchange(
            body=body,
            turn=turn,
            interruption=interruption,
            status=status,
            answer=answer,
            fault=fault,
            took_s=trio.current_time() - started_at,
        )
        faults = [] if answer is None else self._check(exchange)
        self._tally.note(exchange, faults)
        return exchange

    async def _ask(self, dialogue: Dialogue, body: dict[str, Any]) -> Outcome:
        """Status, answer, and what is missing for it to be one."""
        try:
            reply = await self._client.post(
                "/generate", json=body, headers={"X-SMG-Routing-Key": dialogue.key}
            )
        except httpx.HTTPError as error:
            return None, None, f"no answer: {type(error).__name__} {error}".rstrip()
        if reply.status_code != 200:
            return reply.status_code, None, f"{reply.status_code} {reply.text[:_SHOWN_CHARS]}"
        try:
            answer = reply.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
            return 200, None, f"200, but not an answer: {reply.text[:_SHOWN_CHARS]}"
        return 200, answer, None

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


def open_client(url: str) -> httpx.AsyncClient:
    """A client for many requests at once, without proxies of the environment."""
    return httpx.AsyncClient(
        base_url=url,
        trust_env=False,
        timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=10.0),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
    )
