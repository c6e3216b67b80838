"""Which trajectory has to go next: the one unused for longest, or one of an outdated version.

Versions are remembered in the order in which workers first reported them; the newest K are kept.
This file must not know sizes and turns. Times are seconds of one clock, given by callers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from miles_router.core.versions import VersionHistory

if TYPE_CHECKING:
    from miles_router.core.trajectory.trajectory import Trajectory


class Usage:
    """Trajectories in the order of their last use, and by the version of their newest tokens.

    Args:
        ttl_s: how long an unused one is kept; None: for ever.
        keep_versions: so many of the newest versions are kept; at least 1.
    """

    def __init__(self, ttl_s: float | None, keep_versions: int) -> None:
        self._ttl_s = ttl_s
        self._keep_versions = keep_versions
        self._versions = VersionHistory()
        self._kept: frozenset[str] = frozenset()
        # Ordered dicts, because what is first in a dict stands behind all that was removed before.
        self._used: OrderedDict[str, Trajectory] = OrderedDict()
        self._of_version: dict[str, OrderedDict[str, Trajectory]] = {}

    def __len__(self) -> int:
        return len(self._used)

    def __contains__(self, identity: str) -> bool:
        return identity in self._used

    @property
    def ids(self) -> list[str]:
        """Of all trajectories, the one unused for longest first."""
        return list(self._used)

    @property
    def oldest(self) -> Trajectory | None:
        """The one unused for longest; None if there is none."""
        return next(iter(self._used.values()), None)

    def add(self, trajectory: Trajectory) -> None:
        """Add one that is not there, as the one used last."""
        self._used[trajectory.id] = trajectory
        version = trajectory.weight_version
        if version is not None:
            self._of_version.setdefault(version, OrderedDict())[trajectory.id] = trajectory

    def remove(self, trajectory: Trajectory) -> None:
        """Take one out, before its last turn becomes another one."""
        del self._used[trajectory.id]
        version = trajectory.weight_version
        if version is not None:
            listed = self._of_version[version]
            del listed[trajectory.id]
            if not listed:
                del self._of_version[version]

    def touch(self, trajectory: Trajectory, now: float) -> None:
        """It is used now."""
        trajectory.used_at = now
        self._used.move_to_end(trajectory.id)

    def note_version(self, version: str | None) -> bool:
        """A worker reported a weight version; True if it is the first time."""
        is_new = self._versions.arrive(version)
        if is_new:
            self._kept = frozenset(self._versions.arrived[-self._keep_versions :])
        return is_new

    def expired(self, now: float) -> tuple[Trajectory, str] | None:
        """One that has to go, and why: `ttl` or `version`; None if none has to."""
        oldest = self.oldest
        if oldest is not None and self._ttl_s is not None and oldest.used_at + self._ttl_s < now:
            return oldest, "ttl"
        for version, listed in self._of_version.items():
            if version not in self._kept:
                return next(iter(listed.values())), "version"
        return None
