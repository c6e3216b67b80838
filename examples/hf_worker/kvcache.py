"""Keys and values of attention: one growing left-padded batch, and the prefixes worth keeping.

Shapes: a row is one sequence; each layer holds [rows, heads, columns, head size]. Rows end in the
same column; a shorter row starts with padding, which the attention mask hides. Invariant: row r of
`Batch` holds exactly the tokens `seq.ids[:length(r)]`.
Models that keep anything else between steps (recurrent state) cannot run on this and are refused
when they are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad
from transformers.cache_utils import Cache, DynamicLayer

if TYPE_CHECKING:
    from .sequences import Sequence

LayerRows = list[tuple[torch.Tensor, torch.Tensor]]

_SPARE_COLUMNS = 128


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed for mypy here
    """A layer that writes new columns into spare room instead of copying all old ones each step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._room: list[torch.Tensor] | None = None

    def load(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Replace the content; the next update copies it once, so views may be given."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.keys, self.values, self._room = keys, values, None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append columns; called by the model in each forward pass."""
        if not self.is_initialized:
            self.load(key_states[:, :, :0], value_states[:, :, :0])
        old = self.keys.shape[-2]
        new = old + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < new:
            self._room = [_enlarged(self.keys, new), _enlarged(self.values, new)]
        self._room[0][:, :, old:new] = key_states
        self._room[1][:, :, old:new] = value_states
        self.keys, self.values = self._room[0][:, :, :new], self._room[1][:, :, :new]
        return self.keys, self.values


def _enlarged(states: torch.Tensor, columns: int) -> torch.Tensor:
    rows, heads, old, size = states.shape
    room = torch.empty(rows, heads, columns + _SPARE_COLUMNS, size, dtype=states.dtype)
    room[:, :, :old] = states
    return room


def make_cache(rows: LayerRows | None = None) -> Cache:
    """An empty cache, or one that starts with these keys and values."""
    if rows is None:
        return Cache(layer_class_to_replicate=GrowingLayer)
    layers = [GrowingLayer() for _ in rows]
    for layer, (keys, values) in zip(layers, rows, strict=True):
        layer.load(keys, values)
    return Cache(layers=layers)


def columns(cache: Cache) -> int:
    """Tokens of the longest row."""
    return int(cache.get_seq_length())


@dataclass(slots=True)
class Batch:
    """The sequences that decode together, and their keys and values."""

    sequences: list[Sequence] = field(default_factory=list)
    padding: list[int] = field(default_factory=list)
    cache: Cache = field(default_factory=make_cache)

    def clear(self) -> None:
        """Forget every row."""
        self.sequences, self.padding, self.cache = [], [], make_cache()

    def join(self, seq: Sequence, cache: Cache) -> None:
        """Add a prefilled sequence as the last row."""
        if not self.sequences:
            self.sequences, self.padding, self.cache = [seq], [0], cache
            return
        mine, its = columns(self.cache), columns(cache)
        width = max(mine, its)
        for layer, newcomer in zip(self.cache.layers, cache.layers, strict=True):
            keys = [_padded(layer.keys, width), _padded(newcomer.keys, width)]
            values = [_padded(layer.values, width), _padded(newcomer.values, width)]
            layer.load(torch.cat(keys), torch.cat(values))
        self.padding = [p + width - mine for p in self.padding] + [width - its]
        self.sequences.append(seq)

    def row(self, index: int) -> LayerRows:
        """A copy of one row without its padding."""
        start = self.padding[index]
        part = (slice(index, index + 1), slice(None), slice(start, None))
        return [
            (layer.keys[part].clone(), layer.values[part].clone()) for layer in self.cache.layers
        ]

    def keep(self, indices: list[int]) -> None:
        """Drop all other rows, and the columns that are padding in every row that stays."""
        if len(indices) == len(self.sequences):
            return
        if not indices:
            self.clear()
            return
        self.sequences = [self.sequences[i] for i in indices]
        self.padding = [self.padding[i] for i in indices]
        shared = min(self.padding)
        self.padding = [p - shared for p in self.padding]
        for layer in self.cache.layers:
            layer.load(layer.keys[indices, :, shared:], layer.values[indices, :, shared:])

    def inputs(self) -> dict[str, torch.Tensor]:
        """Model inputs of the next step: the newest token of each row, its position, the mask."""
        width = columns(self.cache) + 1
        starts = torch.tensor(self.padding)[:, None]
        return {
            "input_ids": torch.tensor([[seq.ids[-1]] for seq in self.sequences]),
            "position_ids": width - 1 - starts,
            "attention_mask": (torch.arange(width)[None] >= starts).long(),
        }


def _padded(states: torch.Tensor, width: int) -> torch.Tensor:
    return pad(states, (0, 0, width - states.shape[-2], 0))


class PrefixStore:
    """Keys and values of recent sequences, so that the next turn computes only what is new.

    The least recently used entry goes when more than `capacity_tokens` are stored.
    """

    def __init__(self, capacity_tokens: int) -> None:
        self.capacity_tokens = capacity_tokens
        self._entries: list[tuple[list[int], LayerRows]] = []

    @property
    def tokens(self) -> int:
        """Tokens stored now."""
        return sum(len(ids) for ids, _ in self._entries)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def longest(self, ids: list[int], limit: int) -> tuple[int, LayerRows | None]:
        """How many tokens at the start of `ids` (at most `limit`) are stored, and their rows."""
        best = max(self._entries, key=lambda entry: shared_length(entry[0], ids), default=None)
        count = min(shared_length(best[0], ids), limit) if best else 0
        if best is None or count == 0:
            return 0, None
        self._entries.remove(best)
        self._entries.append(best)
        return count, [(k[:, :, :count], v[:, :, :count]) for k, v in best[1]]

    def store(self, ids: list[int], rows: LayerRows) -> None:
        """Keep a sequence; an entry that it continues is replaced by it."""
        if len(ids) > self.capacity_tokens:
            return
        overlaps = [shared_length(entry[0], ids) for entry in self._entries]
        if len(ids) in overlaps:
            return
        self._entries = [
            entry
            for entry, overlap in zip(self._entries, overlaps, strict=True)
            if overlap < len(entry[0])
        ]
        self._entries.append((ids, rows))
        while self.tokens > self.capacity_tokens:
            self._entries.pop(0)


def shared_length(a: list[int], b: list[int]) -> int:
    """Length of the common beginning."""
    size = min(len(a), len(b))
    if a[:size] == b[:size]:
        return size
    return next(i for i in range(size) if a[i] != b[i])
