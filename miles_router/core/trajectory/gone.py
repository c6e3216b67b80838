"""What was stored and is no more, so that it is answered "gone" instead of "never seen".

Only digests of texts and ids of trajectories are kept, a bounded number of them; what was forgotten
here too is "never seen" again.
"""

from __future__ import annotations

from collections import OrderedDict

# About 200 bytes each.
REMEMBERED = 100_000


class Gone:
    """The latest removals and their reasons."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._reasons: OrderedDict[tuple[str, int | str], str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._reasons)

    def add(self, tenant: str, key: int | str, reason: str) -> None:
        """Remember a text's digest, or the id of a trajectory."""
        self._reasons[tenant, key] = reason
        self._reasons.move_to_end((tenant, key))
        if len(self._reasons) > self._remembered:
            self._reasons.popitem(last=False)

    def reason(self, tenant: str, key: int | str) -> str | None:
        """Why it went; None if it is not known to have been there."""
        return self._reasons.get((tenant, key))
