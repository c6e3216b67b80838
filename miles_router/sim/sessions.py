"""Sessions of SGLang 0.5.23: POST /open_session and /close_session.

A simulated worker knows which are open and nothing else of them: its prefix cache needs none.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from miles_router.sim.http import Reply
from miles_router.sim.refusals import bad_value, malformed
from miles_router.sim.route import Route, post, read_object

if TYPE_CHECKING:
    from miles_router.sim.http import Request
    from miles_router.sim.worker import Worker


async def _open(worker: Worker, request: Request) -> Reply:
    body = await read_object(worker, request)
    capacity, session = body.get("capacity_of_str_len"), body.get("session_id")
    if not isinstance(capacity, int) or isinstance(capacity, bool):
        raise malformed("body.capacity_of_str_len: Input should be a valid integer")
    if session is None:
        session = uuid.uuid4().hex
    if not isinstance(session, str):
        raise malformed("body.session_id: Input should be a valid string")
    if session in worker.sessions:
        raise bad_value(
            "Failed to open the session. Check if a session with the same id is still open."
        )
    worker.sessions.add(session)
    return Reply.json(session)


async def _close(worker: Worker, request: Request) -> Reply:
    session = (await read_object(worker, request)).get("session_id")
    if not isinstance(session, str):
        raise malformed("body.session_id: Input should be a valid string")
    worker.sessions.discard(session)
    return Reply(200)


ROUTES: dict[str, Route] = {
    "/open_session": post(_open, "GET"),
    "/close_session": post(_close, "GET"),
}
