"""How a call into a router in this process ends where that has stopped.

Apart from `bridge`, so that screens of a router elsewhere do not load trio for its name.
"""

from __future__ import annotations


class RouterStopped(Exception):
    """What was called has ended, or ends before it answers."""

    def __init__(self) -> None:
        super().__init__("the router has stopped")
