"""What is to be relayed, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miles_router.core.affinity import SessionKey
    from miles_router.core.headers import Headers


@dataclass(slots=True, eq=False)
class RelayRequest:
    """What is to be relayed."""

    method: str
    target: bytes  # path and query, as they came
    headers: Headers
    request_id: str
    path_class: str
    is_generation: bool
    session: SessionKey | None
    takes_pipes: bool = False  # what sends the answer knows PIPE_KEY
