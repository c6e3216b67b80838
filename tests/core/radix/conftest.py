"""Small examples do what long answers do."""

from __future__ import annotations

from tests.core.cuts import short_cuts

__all__ = ["short_cuts"]
