"""How wide the rows of one model are: layers * top_k.

Workers do not send the shape. It is known from the model's configuration, or learnt from the first
answer that can be read in one way only. This file must not know how answers are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core.r3.block import InvalidR3

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ExpertShape:
    """The width of a model's rows; one object for each model.

    Args:
        layers_and_top_k: (num_layers, top_k) where the configuration is known, each at least 1.
    """

    def __init__(self, layers_and_top_k: tuple[int, int] | None = None) -> None:
        self.layers_and_top_k = layers_and_top_k
        # Answers are read in several threads at once; `setdefault` lets one of them be the first.
        self._widths: dict[str, int] = {}
        if layers_and_top_k is not None:
            if min(layers_and_top_k) < 1:
                raise ValueError(f"a model has layers and experts: {layers_and_top_k}")
            self._widths["known"] = layers_and_top_k[0] * layers_and_top_k[1]

    @property
    def width(self) -> int | None:
        """layers * top_k; None while nothing is known."""
        return self._widths.get("known")

    def __str__(self) -> str:
        """How wide rows have to be, and how that is known: for people."""
        if self.width is None:
            return "rows whose width is not known yet"
        if self.layers_and_top_k is None:
            return f"rows of {self.width} numbers, as in the first answer that had any"
        layers, top_k = self.layers_and_top_k
        return f"rows of {self.width} numbers, {layers} layers x {top_k} experts by config.json"

    def learn(self, width: int) -> None:
        """Take note that an answer had rows of `width` numbers, `width` at least 1.

        Raises:
            InvalidR3: that contradicts what is known ("width_changed").
        """
        known = self._widths.setdefault("known", width)
        if known != width:
            raise InvalidR3("width_changed", f"rows of {width} numbers, this model has {known}")

    def unfold(self, rows: NDArray[np.integer]) -> NDArray[np.integer]:
        """`rows` [rows, layers * top_k] as [rows, layers, top_k]; unchanged where not known.

        Shares memory with `rows`.
        """
        if self.layers_and_top_k is None:
            return rows
        return rows.reshape(len(rows), *self.layers_and_top_k)
