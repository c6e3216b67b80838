"""The radix tree: paths of tokens that share what they begin with alike.

Theory of operation. An element is a token with the text it shows; two paths share a node only
where both agree, so equal texts with other ids are two branches, and so are equal ids that were
shown differently. Nodes split at token boundaries and are never merged again: a split costs one
node, and goes with its last child. A node stays while a turn holds it or children hang below it.
Positions are counted in tokens from the root and stay right across splits. Nothing here recurses:
a dialogue may have thousands of turns.

Invariant: `size_bytes` and `tokens` are the sums over all nodes; every leaf is held by a turn.
"""

from __future__ import annotations

import numpy as np

from miles_router.core.radix.children import (
    add_child,
    child_beginning,
    remove_child,
    replace_child,
)
from miles_router.core.radix.node import Node, make_root, token_id, token_text
from miles_router.core.radix.run import ID_BYTES, LENGTH_BYTES, TokenRun, join


class Tree:
    """The tokens of one namespace."""

    def __init__(self) -> None:
        self.root = make_root()
        self.size_bytes = 0
        self.tokens = 0
        self.nodes = 0

    def node_at(self, node: Node, depth: int) -> Node:
        """The node on the path to `node` that ends at `depth`; one is made there if none does.

        `0 <= depth <= node.end`. `node` stays the node it was: what it is split from comes above.
        """
        while node.parent is not None and node.start >= depth:
            node = node.parent
        return node if node.end == depth else self._split(node, depth - node.start)

    def _split(self, node: Node, tokens: int) -> Node:
        """Cut `node` behind its first `tokens` tokens; the upper part is new, and returned."""
        parent = node.parent
        assert parent is not None, "the root has no tokens to split"
        start, run = node.start, node.run
        self.size_bytes -= node.size_bytes
        upper = Node(parent, run.cut(0, tokens), start + tokens)
        upper.share_makers(node)
        replace_child(parent, node, upper)
        node.run = run.cut(tokens, len(run))
        node.parent = upper
        add_child(upper, node)
        self.nodes += 1
        self.size_bytes += upper.size_bytes + node.size_bytes
        return upper

    def extend(self, node: Node, run: TokenRun) -> Node:
        """The node at the end of `run` behind `node`; what is not there yet is added."""
        done, size, position = 0, len(run), 0  # position: in the text of `run`
        while done < size:
            first = token_text(run, done, position)
            child = child_beginning(node, token_id(run, done), first)
            if child is None:
                return self._add(node, run.cut(done, size))
            shared = shared_tokens(child.run, run, done, position)
            if shared < len(child.run):
                child = self._split(child, shared)
            done += shared
            position += len(child.run.text)
            node = child
        return node

    def _add(self, parent: Node, run: TokenRun) -> Node:
        node = Node(parent, run, parent.end + len(run))
        add_child(parent, node)
        self.nodes += 1
        self.tokens += len(run)
        self.size_bytes += node.size_bytes
        return node

    def release(self, node: Node) -> None:
        """Give up one hold of `node`; nodes that nothing needs any more are removed."""
        node.holds -= 1
        while node.parent is not None and not node.holds and node.children is None:
            parent = node.parent
            remove_child(parent, node)
            self.nodes -= 1
            self.tokens -= len(node.run)
            self.size_bytes -= node.size_bytes
            node = parent


def run_between(node: Node, start: int, end: int) -> TokenRun:
    """Tokens [start, end) of the path to `node`."""
    parts = []
    if node.end == end and node.start == start:
        return node.run
    while node.parent is not None and node.end > start:
        first = node.start
        if first < end:
            parts.append(node.run.cut(max(0, start - first), min(end, node.end) - first))
        node = node.parent
    parts.reverse()
    return join(parts)


def shared_tokens(left: TokenRun, right: TokenRun, start: int = 0, position: int = 0) -> int:
    """How many tokens `left` and the part of `right` behind `start` tokens begin with alike.

    Alike are the same ids showing the same text. `position`: where that part begins in the text of
    `right`. No copy is made of it: a long run may pass thousands of nodes.
    """
    if (
        right.ids.startswith(left.ids, start * ID_BYTES)
        and right.lengths.startswith(left.lengths, start * LENGTH_BYTES)
        and right.text.startswith(left.text, position)
    ):
        return len(left)
    size = min(len(left), len(right) - start)
    ids_differ = left.id_array[:size] != right.id_array[start : start + size]
    lengths_differ = left.length_array[:size] != right.length_array[start : start + size]
    differ = ids_differ | lengths_differ
    same = int(differ.argmax()) if differ.any() else size
    text_bytes = left.text_bytes_of(same)
    agreed = shared_bytes(left.text, right.text, position)
    if agreed >= text_bytes:
        return same
    return int(np.searchsorted(left.ends()[:same], agreed, side="right"))


def shared_bytes(edge: bytes, text: bytes, position: int) -> int:
    """How many bytes of `edge` stand at `position` of `text`: by halving, not byte by byte."""
    low, high, most = 0, 16, min(len(edge), len(text) - position)
    # Most of what differs does so early on.
    while high < most and text.startswith(edge[low:high], position + low):
        low, high = high, 4 * high
    high = min(high, most)
    while low < high:
        middle = (low + high + 1) // 2
        if text.startswith(edge[low:middle], position + low):
            low = middle
        else:
            high = middle - 1
    return low
