"""What a simulated worker must answer, computed again from the request alone. Pure.

The simulated model is a function of weight version, seed and the tokens before, so a second engine
in this process finds the same tokens, log-probabilities, text and routed experts, whichever worker
answered and however often the request moved. Taken from the answer are only: where one weight
version followed another (tokens of the wrong one would be other tokens), and the prompt's token ids
where nobody says what they must be (then they must spell the text that was sent).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from miles_router.demo.transcript import told_versions
from miles_router.demo.verify import first_difference, never_began
from miles_router.sim.engine import Engine
from miles_router.sim.experts import ExpertRouter
from miles_router.sim.generation import Generation
from miles_router.sim.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from miles_router.demo.tally import Exchange
    from miles_router.demo.transcript import ToldTurn, VersionSpans
    from miles_router.sim.settings import SimSettings

# What depends on the moment and the worker, not on what was generated.
_MOMENTARY = ("cached_tokens", "num_retractions", "dp_rank", "e2e_latency")


class Oracle:
    """Knows the answers of workers with these settings.

    Args:
        settings: of the workers.
        later_versions: weight versions that follow the one in `settings`, in order.
    """

    def __init__(self, settings: SimSettings, later_versions: Sequence[str] = ()) -> None:
        self._versions = (settings.weight_version, *later_versions)
        self._engine = Engine(settings)
        self._tokenizer = self._engine.tokenizer
        self._sampler = Sampler(self._tokenizer, drift=settings.drift)
        self._experts = ExpertRouter(settings.num_layers, settings.num_experts, settings.top_k)

    def answer(
        self,
        body: Mapping[str, Any],
        *,
        prompt_ids: Sequence[int],
        aborted_after: int | None = None,
        versions: VersionSpans = (),
    ) -> dict[str, Any]:
        """The answer to `body` if its prompt has these ids, aborted after some tokens if asked."""
        generation = self._generated(body, prompt_ids, aborted_after, versions)
        version = versions[-1][0] if versions else self._versions[0]
        return self._engine.answers.whole(generation, version=version)

    def _generated(
        self,
        body: Mapping[str, Any],
        prompt_ids: Sequence[int],
        aborted_after: int | None,
        versions: VersionSpans,
    ) -> Generation:
        asked = {key: value for key, value in body.items() if key != "text"}
        item = self._engine.parse({**asked, "input_ids": list(prompt_ids)}).items[0]
        seed = item.params.sampling_seed
        if seed is None:
            raise ValueError(f"{item.rid} has no sampling_seed; nobody can know its answer.")
        generation = Generation(
            item, seed=seed, sampler=self._sampler, tokenizer=self._tokenizer, now=0.0
        )
        while not generation.is_finished and len(generation.output_ids) != aborted_after:
            generation.step(self._version_at(len(generation.output_ids), versions))
        if not generation.is_finished:
            generation.abort(
                {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None},
                is_reduced=False,
            )
        return generation

    def _version_at(self, place: int, versions: VersionSpans) -> str:
        found = (name for name, start, end in versions if start <= place < end)
        return next(found, versions[-1][0] if versions else self._versions[0])

    def logprobs(self, exchange: Exchange, prompt_ids: Sequence[int]) -> list[float]:
        """The log-probabilities of a right answer's tokens, whether it carries them or not."""
        answer = exchange.answer or {}
        body = {**exchange.body, "return_logprob": True}
        after = len(answer["output_ids"]) if exchange.was_aborted else None
        return self._generated(body, prompt_ids, after, told_versions(answer)).logprobs

    def check(self, exchange: Exchange, *, prompt_ids: Sequence[int] | None = None) -> list[str]:
        """What is wrong with the answer of `exchange`; empty if it is exactly the right one.

        Args:
            exchange: a client that asks for little gets little: nothing may stand in its answer
                that it did not ask for.
            prompt_ids: what its worker must have got. None: whatever the answer says, if it spells
                the prompt; and where it does not say, what a worker would make of the text.
        """
        answer = exchange.answer or {}
        if exchange.interruption is not None and never_began(answer):
            return []
        told_ids: Any = answer.get("prompt_token_ids")
        if exchange.body.get("return_prompt_token_ids"):
            if not _is_ids(told_ids):
                return [f"prompt_token_ids is {told_ids!r:.80}, not a list of token ids"]
            if self._tokenizer.decode(told_ids) != exchange.body["text"]:
                return ["prompt_token_ids do not spell the text that was sent"]
            prompt_ids = told_ids if prompt_ids is None else prompt_ids
        if prompt_ids is None:
            prompt_ids = self._tokenizer.encode(exchange.body["text"])
        aborted_after = None
        if exchange.was_aborted:
            if exchange.interruption is None:
                return ["it was aborted, and nobody asked for that"]
            aborted_after = len(answer.get("output_ids") or ())
        expected = self.answer(
            exchange.body,
            prompt_ids=prompt_ids,
            aborted_after=aborted_after,
            versions=self._told_in_order(answer),
        )
        difference = first_difference(_lasting(expected), _lasting(answer))
        return [] if difference is None else [difference]

    def _told_in_order(self, answer: Mapping[str, Any]) -> VersionSpans:
        """The weight versions that the answer says, if they may have followed each other."""
        told = told_versions(answer)
        names = [name for name, _, _ in told]
        allowed = [name for name in self._versions if name in names]
        return told if names == allowed else ()

    def rows(self, turns: Sequence[ToldTurn]) -> NDArray[np.int32]:
        """Routed experts [tokens - 1, layers, top_k] after the last of `turns`.

        Each row is from the first turn in which a worker computed it on the way to a token of the
        dialogue: later turns may have done so again with other weights.
        """
        parts = []
        for turn in turns:
            if turn.output_ids:
                ids, prompt = turn.ids, len(turn.prompt_ids)
                ends = [(name, max(0, prompt + end - 1)) for name, _, end in turn.versions]
                parts.append(self._experts.rows(ids[:-1], ends, max(0, turn.inherited - 1)))
        return np.concatenate(parts)


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, int) for one in value)


def _lasting(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer without what may differ from run to run."""
    meta = answer.get("meta_info") or {}
    kept = {key: value for key, value in meta.items() if key not in _MOMENTARY}
    return {**answer, "meta_info": kept}
