"""Where the prompt of a request continues what is stored.

A prompt is continued from the last token that a worker produced and that its text agrees with;
everything behind is tokenized by itself, because ids of prompt text that were cut out of a longer
text are not those that a worker would have made. Where an equal prompt was tokenized before, its
tokens are taken. With a session key only turns of that session are continued, and are looked for by
themselves; without one, any turn of the namespace (that is how samples of one prompt share it).
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from miles_router.core.radix.marks import Wanted
from miles_router.core.radix.match import match_ids, match_text
from miles_router.core.radix.tree import run_between
from miles_router.core.trajectory.paths import session_paths
from miles_router.core.trajectory.turn import Prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from miles_router.core.radix.match import Made, Match
    from miles_router.core.radix.node import Node
    from miles_router.core.trajectory.namespace import Namespace
    from miles_router.core.trajectory.turn import Turn

# So many nodes where a prompt ends, their children, and the turns of each, are asked whose prompt
# it was: any will do, and there may be thousands.
ASKED = 16


def find_prompt(namespace: Namespace, text: bytes, session: str | None) -> Prompt:
    """How the text of a request begins. Where it ends with an answer, no invisible tail follows."""
    root, wanted = namespace.tree.root, Wanted(session)
    paths = None if session is None else session_paths(namespace, session)
    if paths is not None:
        own = match_text(root, text, wanted, paths)
        if own.made is not None:
            return _prompt(own, text)
        wanted = Wanted(among=())  # nothing to continue; but others may have had this very prompt
    return _prompt(match_text(root, text, wanted), text)


def _prompt(found: Match, text: bytes) -> Prompt:
    made = found.made
    for node in islice(found.stops, ASKED):
        turn = _same_prompt(node, made)
        if turn is not None:
            return Prompt(turn.parent, turn.inherited, run_between(node, turn.inherited, node.end))
    if made is None:
        return Prompt(rest=text)
    return Prompt(made.turn, made.depth, rest=text[made.size_bytes :])


def find_ids(namespace: Namespace, ids: NDArray[np.int32], session: str | None) -> Prompt:
    """How the token ids of a request begin; `rest` stays empty, the caller knows the ids."""
    made = match_ids(namespace.tree.root, ids, Wanted(session)).made
    return Prompt() if made is None else Prompt(made.turn, made.depth)


def _same_prompt(node: Node, made: Made | None) -> Turn | None:
    """A turn whose prompt was this very text, tokenized from the same position on."""
    parent, inherited = (None, 0) if made is None else (made.turn, made.depth)
    makers = (islice(child.makers, ASKED) for child in islice(node.children or (), ASKED))
    for turn in chain(islice(node.ends, ASKED), chain.from_iterable(makers)):
        is_same = turn.prompt_end == node.end and turn.is_text_prompt
        if is_same and turn.parent is parent and turn.inherited == inherited:
            return turn
    return None
