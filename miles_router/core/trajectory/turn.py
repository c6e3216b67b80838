"""Turns: one exchange with a worker, as tokens, and what the worker said about them.

A turn's tokens are a path in the radix tree. What belongs to the exchange and not to the tokens
(log-probabilities, weight versions, ids of the request, routed experts) is kept here, so that the
same tokens produced twice stay two. This file must not know requests or JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from miles_router.core.radix.run import EMPTY, TokenRun
from miles_router.core.radix.tree import run_between

if TYPE_CHECKING:
    from miles_router.core.r3 import R3Block
    from miles_router.core.radix.marks import Marks
    from miles_router.core.radix.node import Node
    from miles_router.core.trajectory.trajectory import Trajectory

LOGPROB_BYTES = 4

# Python objects of a turn with its entries in the indexes, and of one span of its versions, without
# their bytes; measured with tracemalloc on CPython 3.11 over 20,000 turns.
TURN_BYTES = 640
VERSION_BYTES = 130


class UnfitTurn(ValueError):
    """A turn that contradicts itself or what is stored."""


class VersionSpan(msgspec.Struct, frozen=True):
    """Output tokens [start, end) were made by one weight version; None where it is not known."""

    version: str | None
    start: int
    end: int


class SpelledOutput(msgspec.Struct, frozen=True):
    """The output tokens of an answer, lined up with the text that the client got.

    Args:
        run: all output tokens. The text of those behind the visible part is their literal.
        visible_tokens: so many tokens, from the first on, are wholly inside the client's text.
        partial: what the client's text shows beyond those: the beginning of the next token's text,
            where a stop string ended inside of it.
    """

    run: TokenRun
    visible_tokens: int
    partial: bytes = b""


class NewTurn(msgspec.Struct, frozen=True):
    """A finished answer that passed all checks, to be stored.

    Args:
        session: session key of the caller; None if it named none.
        rid: request id under which the worker ran it.
        parent: turn that this one continues; None for the first of a trajectory.
        inherited: so many tokens of the parent's path begin the prompt; 0 without a parent.
        prompt: the tokens of the prompt behind those.
        is_text_prompt: they were tokenized here, from text.
        output: what the worker produced.
        logprobs: float32, little-endian, one for each output token; NaN: none known.
        versions: cover the output tokens, in order.
        finish: type of the finish reason: stop, length, abort.
        r3: routed experts; None: there are none.
        r3_missing: why there are none: `not_asked`, `not_sent`, or what was invalid about them.
    """

    session: str | None
    rid: str | None
    parent: Turn | None
    inherited: int
    prompt: TokenRun
    is_text_prompt: bool
    output: SpelledOutput
    logprobs: bytes
    versions: tuple[VersionSpan, ...]
    finish: str
    r3: R3Block | None = None
    r3_missing: str = "not_asked"


@dataclass(slots=True, eq=False, repr=False)
class Turn:
    """A stored turn. Its tokens: the tree's path from the root to `node`.

    Positions are counted in tokens from the root. Generated: [prompt_end, end).
    """

    tenant: str
    number: int
    session: str | None
    rid: str | None
    parent: Turn | None
    inherited: int
    prompt_end: int
    end: int
    node: Node
    visible: Node
    partial: bytes
    is_text_prompt: bool
    logprobs: bytes
    versions: tuple[VersionSpan, ...]
    finish: str
    r3: R3Block | None
    r3_missing: str  # as in NewTurn; where they were taken away, for what: `evicted`, `lost`
    text_digest: int  # of the visible text without `partial`; see `digest`
    weight_version: str | None  # that made the newest tokens of it and the turns before it
    holders: int = 0  # later turns that continue this one, and requests in flight that will
    later: Marks = ()  # turns that continue this one
    trajectory: Trajectory | None = None  # whose last turn this is
    is_heir: bool = False  # it went on with the trajectory of the turn before it
    leaves_for: str = ""  # why it goes once nothing holds it
    is_stored: bool = True  # False once it has been removed

    def __repr__(self) -> str:
        # Without the turn before it: a chain of thousands would be shown one inside the other.
        before = "" if self.parent is None else f" behind turn {self.parent.number}"
        return f"<Turn {self.number} of {self.tenant!r}, {self.end} tokens{before}>"

    def shown_behind(self, depth: int) -> bytes:
        """What the client's text shows of this turn behind its first `depth` tokens."""
        return run_between(self.node, depth, self.visible.end).text + self.partial

    def tail_behind(self, depth: int) -> bytes:
        """The literal of the invisible tail, or of what is left of it behind `depth` tokens."""
        return run_between(self.node, max(depth, self.visible.end), self.end).text

    @property
    def generated_tokens(self) -> int:
        """How many tokens the worker produced."""
        return self.end - self.prompt_end

    @property
    def size_bytes(self) -> int:
        """What it is accounted for, without its tokens and its routed experts."""
        names = len(self.rid or "") + len(self.session or "") + len(self.partial)
        return TURN_BYTES + names + len(self.logprobs) + VERSION_BYTES * len(self.versions)


class Prompt(msgspec.Struct, frozen=True):
    """Where the text of a request was found, and what is left to be tokenized.

    Args:
        parent: turn whose tokens begin the prompt; None if none does.
        inherited: how many of its tokens.
        known: tokens of the text behind those that are known from an equal prompt.
        rest: UTF-8 text that has to be tokenized.
    """

    parent: Turn | None = None
    inherited: int = 0
    known: TokenRun = EMPTY
    rest: bytes = b""


def check_turn(new: NewTurn, tenant: str) -> None:
    """Whether a turn can be stored for `tenant`.

    Raises:
        UnfitTurn: its parent is not stored, or is another tenant's; or numbers do not fit.
    """
    parent, output, tokens = new.parent, new.output, len(new.output.run)
    if parent is not None and not (parent.is_stored and parent.tenant == tenant):
        raise UnfitTurn("the turn before it is not stored, or belongs to another tenant")
    known = 0 if parent is None else parent.end
    if not 0 <= new.inherited <= known:
        raise UnfitTurn(f"{new.inherited} inherited tokens of {known}")
    if not 0 <= output.visible_tokens <= tokens:
        raise UnfitTurn(f"{output.visible_tokens} visible tokens of {tokens}")
    tail = output.run.text[output.run.text_bytes_of(output.visible_tokens) :]
    if not tail.startswith(output.partial):
        raise UnfitTurn("the text ends with what the tokens do not show")
    if len(new.logprobs) != tokens * LOGPROB_BYTES:
        raise UnfitTurn(f"{len(new.logprobs)} bytes of log-probabilities for {tokens} tokens")
    starts = [*(span.start for span in new.versions), tokens]
    ends = [0, *(span.end for span in new.versions)]
    if starts != ends or ends != sorted(ends):
        raise UnfitTurn(f"the weight versions do not cover {tokens} tokens")
