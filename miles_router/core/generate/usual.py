"""The usual answer, read in one go: one item, all of it there, and everything agrees.

Reading the members one by one, as `judging` does to name what is wrong, looks at each byte three
times. Most answers are such that nothing has to be named. Invariant: what is read here is what
`read_answer` would make of it; of everything else it is said only that it is not usual.
"""

from __future__ import annotations

from operator import itemgetter
from struct import error as PackError  # noqa: N812 - it is a class
from struct import pack
from typing import TYPE_CHECKING

import msgspec

from miles_router.core.generate.items import AnswerItem, Expected, Triple
from miles_router.core.generate.prompts import TokenId, id_array
from miles_router.core.generate.splice import UNREADABLE
from miles_router.core.trajectory.turn import VersionSpan

if TYPE_CHECKING:
    from collections.abc import Sequence

# With more there may be routed experts, whose text is better not looked at (see `opened`).
MOST_BYTES = 65_536
_FIRST, _SECOND = itemgetter(0), itemgetter(1)
# One that was aborted may be an error.
_FINISHES = frozenset({"stop", "length"})


class _Finish(msgspec.Struct, frozen=True):
    type: str


class _Meta(msgspec.Struct, frozen=True, gc=False):
    finish_reason: _Finish
    prompt_tokens: TokenId
    completion_tokens: TokenId
    output_token_logprobs: list[Triple]
    output_token_logprobs_length: TokenId | None = None
    id: str | None = None
    weight_version: str | None = None
    weight_versions: None = None
    routed_experts: None = None


class _Said(msgspec.Struct, frozen=True, gc=False):
    text: str
    output_ids: list[TokenId]
    meta_info: _Meta
    prompt_token_ids: None = None


_SAID = msgspec.json.Decoder(_Said)


def read_usual(body: bytes, expected: Expected) -> AnswerItem | None:
    """The one item of an answer; None if the answer is not usual, whatever the bytes are."""
    if expected.is_array or len(body) > MOST_BYTES:
        return None
    try:
        said = _SAID.decode(body)
    except UNREADABLE:
        return None
    meta, ids, triples = said.meta_info, said.output_ids, said.meta_info.output_token_logprobs
    count = len(ids)
    agrees = (
        count > 0
        and len(triples) == meta.completion_tokens == count
        and meta.output_token_logprobs_length in {None, count}
        and meta.prompt_tokens == len(expected.prompt_ids[0])
        and meta.finish_reason.type in _FINISHES
        and max(ids) < expected.vocab_size
        and list(map(_SECOND, triples)) == ids
    )
    logprobs = _packed(triples) if agrees else None
    if logprobs is None:
        return None
    return AnswerItem(
        output_ids=id_array(ids),
        text=said.text.encode(),
        logprobs=logprobs,
        finish=meta.finish_reason.type,
        rid=meta.id,
        weight_version=meta.weight_version,
        versions=(VersionSpan(meta.weight_version, 0, count),),
        routed_experts=None,
    )


def _packed(triples: Sequence[Triple]) -> bytes | None:
    """The log-probabilities as float32; None if there is a null among them."""
    try:
        return pack(f"<{len(triples)}f", *map(_FIRST, triples))
    except PackError:
        return None
