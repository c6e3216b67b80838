"""Where in the tree the turns lie that a caller means.

A look-up that is meant for one session, or for one request, walks there only: it costs the same
however many others spell the same text. Nothing here changes anything.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from miles_router.core.radix.match import Within
    from miles_router.core.radix.node import Node
    from miles_router.core.trajectory.namespace import Namespace
    from miles_router.core.trajectory.turn import Turn

# A session of more conversations, or of longer ones, is looked for among all (measured: to climb
# 4,096 nodes takes 1.5 ms).
MAX_LAST_TURNS = 256
MAX_NODES = 4_096


def session_turns(namespace: Namespace, session: str) -> Iterator[Turn]:
    """The turns of a session, and those that they continue; each once."""
    known: set[Turn] = set()
    for last in _last_turns(namespace, session):
        turn: Turn | None = last
        while turn is not None and turn not in known:
            known.add(turn)
            yield turn
            turn = turn.parent


def session_paths(namespace: Namespace, session: str) -> Within | None:
    """Where a session's turns lie; None where they are too many to be worth it."""
    trajectories = namespace.of_session.get(session, ())
    orphans = namespace.orphans.get(session, ())
    if len(trajectories) + len(orphans) > MAX_LAST_TURNS:
        return None
    return paths_to_few(session_turns(namespace, session))


def paths_to(turns: Iterable[Turn]) -> Within:
    """The nodes on the paths to `turns`, each with those of its children that are on them."""
    within: Within = {}
    for turn in turns:
        _climb(within, turn)
    return within


def paths_to_few(turns: Iterable[Turn]) -> Within | None:
    """`paths_to` where it is worth it; None where there are too many nodes."""
    within: Within = {}
    for turn in turns:
        _climb(within, turn)
        if len(within) > MAX_NODES:
            return None
    return within


def _climb(within: Within, turn: Turn) -> None:
    node: Node | None = turn.node
    below: Node | None = None
    while node is not None:
        known = within.get(node)
        if known is not None:  # and so is all that is above it
            if below is not None:
                known.append(below)
            return
        within[node] = [] if below is None else [below]
        below, node = node, node.parent


def _last_turns(namespace: Namespace, session: str) -> Iterator[Turn]:
    """All turns of a session are among these and those that they continue."""
    trajectories = namespace.of_session.get(session, {}).values()
    tips = (trajectory.tip for trajectory in trajectories)
    return chain(tips, namespace.orphans.get(session, ()))
