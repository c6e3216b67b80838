"""Which weight version the pool serves, from what its workers report.

A weight version is an opaque string: versions are never compared by size, only remembered in the
order in which they first arrived from a worker that serves requests. The newest is the last one to
arrive. This file must not know workers or probes.
"""

from __future__ import annotations

from collections import OrderedDict

# One entry per weight update; a run of months stays below it. It bounds a worker that reports
# another version at each probe.
MAX_REMEMBERED = 10_000


class VersionHistory:
    """Weight versions in order of arrival."""

    def __init__(self) -> None:
        self._arrived: OrderedDict[str, None] = OrderedDict()

    @property
    def newest(self) -> str | None:
        """The version that arrived last; None before any did."""
        return next(reversed(self._arrived), None)

    @property
    def arrived(self) -> tuple[str, ...]:
        """All remembered versions, oldest first."""
        return tuple(self._arrived)

    def arrive(self, version: str | None) -> bool:
        """Remember `version`; True if it is the first time (it is the newest from here on)."""
        if version is None or version in self._arrived:
            return False
        self._arrived[version] = None
        if len(self._arrived) > MAX_REMEMBERED:
            self._arrived.popitem(last=False)
        return True

    def arrived_before(self, version: str | None, other: str | None) -> bool:
        """Whether both have arrived, `version` first."""
        if version is None or other is None or version == other:
            return False
        for arrived in self._arrived:
            if arrived == version:
                return other in self._arrived
            if arrived == other:
                return False
        return False

    def renew(self, version: str | None) -> None:
        """Make `version` the newest again: an operator says that it is."""
        if version is not None and version in self._arrived:
            self._arrived.move_to_end(version)

    def may_serve(self, version: str | None, *, others_serve: bool) -> bool:
        """Whether a worker with `version` may be given requests.

        `others_serve`: at least one other worker is routable. Without one, a version never seen
        before counts as newest: the pool would otherwise wait for ever for a version that no
        worker has. A version that was seen and superseded stays out in either case.
        """
        newest = self.newest
        if newest is None or version == newest:
            return True
        if version is None:
            return False
        return not others_serve and version not in self._arrived
