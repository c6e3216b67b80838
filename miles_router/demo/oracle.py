"""What a simulated worker must answer, computed again from the request alone. Pure.

The simulated model is a function of weight version, seed and the tokens before, so a second engine
in this process finds the same tokens, log-probabilities, text and routed experts, whichever worker
answered and however often the request moved. Only the prompt's token ids are taken from the answer:
they must spell the text that was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miles_router.demo.verify import first_difference, never_began
from miles_router.sim.engine import Engine
from miles_router.sim.generation import Generation
from miles_router.sim.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miles_router.demo.tally import Exchange
    from miles_router.sim.settings import SimSettings

# What depends on the moment and the worker, not on what was generated.
_MOMENTARY = ("cached_tokens", "num_retractions", "dp_rank", "e2e_latency")


class Oracle:
    """Knows the answers of workers with these settings."""

    def __init__(self, settings: SimSettings) -> None:
        self._version = settings.weight_version
        self._engine = Engine(settings)
        self._tokenizer = self._engine.tokenizer
        self._sampler = Sampler(self._tokenizer, drift=settings.drift)

    def answer(
        self, body: Mapping[str, Any], *, prompt_ids: list[int], aborted_after: int | None = None
    ) -> dict[str, Any]:
        """The answer to `body` if its prompt has these ids, aborted after some tokens if asked."""
        asked = {key: value for key, value in body.items() if key != "text"}
        item = self._engine.parse({**asked, "input_ids": prompt_ids}).items[0]
        seed = item.params.sampling_seed
        if seed is None:
            raise ValueError(f"{item.rid} has no sampling_seed; nobody can know its answer.")
        generation = Generation(
            item, seed=seed, sampler=self._sampler, tokenizer=self._tokenizer, now=0.0
        )
        while not generation.is_finished and len(generation.output_ids) != aborted_after:
            generation.step(self._version)
        if not generation.is_finished:
            generation.abort(
                {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None},
                is_reduced=False,
            )
        return self._engine.answers.whole(generation, version=self._version)

    def check(self, exchange: Exchange) -> list[str]:
        """What is wrong with the answer of `exchange`; empty if it is exactly the right one."""
        answer = exchange.answer or {}
        if exchange.interruption is not None and never_began(answer):
            return []
        prompt_ids: Any = answer.get("prompt_token_ids")
        if not _is_ids(prompt_ids):
            return [f"prompt_token_ids is {prompt_ids!r:.80}, not a list of token ids"]
        if self._tokenizer.decode(prompt_ids) != exchange.body["text"]:
            return ["prompt_token_ids do not spell the text that was sent"]
        aborted_after = None
        if exchange.was_aborted:
            if exchange.interruption is None:
                return ["it was aborted, and nobody asked for that"]
            aborted_after = len(answer.get("output_ids") or ())
        expected = self.answer(exchange.body, prompt_ids=prompt_ids, aborted_after=aborted_after)
        difference = first_difference(_lasting(expected), _lasting(answer))
        return [] if difference is None else [difference]


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, int) for one in value)


def _lasting(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer without what may differ from run to run."""
    meta = answer.get("meta_info") or {}
    kept = {key: value for key, value in meta.items() if key not in _MOMENTARY}
    return {**answer, "meta_info": kept}
