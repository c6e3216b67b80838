"""Small examples do what long answers do: one token that agrees is enough of a cut answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miles_router.core.radix import marks

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="module")
def short_cuts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(marks, "CUT_TOKENS", 1)
        yield
