"""An error that the router answers with: counted, and found again by its request id.

What a caller did wrong it was told; what it could not help (5xx, and 429, which asks an operator
for more room) is a line in the log. The messages of errors name workers and never repeat a body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miles_router.errors import RouterError
    from miles_router.net.services import Services


def note_error(
    services: Services, error: RouterError, *, request_id: str, path: str, is_logged: bool = False
) -> None:
    """Count `error`, and log it if its caller may come to ask about it.

    `is_logged`: a line with its request id and traceback stands in the log already.
    """
    services.metrics.errors[error.code] += 1
    if not is_logged and (error.status >= 500 or error.status == 429):
        services.log.warning(
            "error_answered",
            request_id=request_id,
            code=error.code,
            status=error.status,
            path=path,
            why=error.message,
        )
