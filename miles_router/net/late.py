"""A part that takes long to load, and is not needed at first.

Decides when and where it is loaded: once, however many ask for it at once, and in a thread where
the loop must go on. This file must not know what the parts are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

Part = TypeVar("Part")


class Late(Generic[Part]):
    """One such part."""

    def __init__(self, make: Callable[[], Part]) -> None:
        """`make` imports what the part needs and makes it; any thread may be the one that does."""
        self._make = make
        self._loading = trio.Lock()
        self._made: list[Part] = []
        self.is_loaded = trio.Event()

    @property
    def part(self) -> Part:
        """The part, once it is loaded."""
        return self._made[0]

    def load(self) -> None:
        """Load it here and now: the loop stands still, for 0.1 to 0.2 s.

        Raises:
            BaseException: whatever keeps it from being loaded, such as an ImportError.
        """
        if not self._made:
            self._take(self._make())

    async def get(self) -> Part:
        """The part, loaded in a thread if it is not yet.

        Cancellation: a load that has begun is waited for, and not lost.

        Raises:
            BaseException: see `load`; whoever asks next tries again.
        """
        if not self._made:
            async with self._loading:
                if not self._made:
                    self._take(await trio.to_thread.run_sync(self._make))
        return self.part

    def _take(self, part: Part) -> None:
        self._made.append(part)
        self.is_loaded.set()
