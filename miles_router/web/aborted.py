"""The answer to a request that `/abort_request` named while it waited for a worker.

A client that asked for the abort treats the answer as a finished, empty sample; an error status
would make it send the request again. So a text `/generate` gets what SGLang 0.5.23 answers for a
request aborted in its own queue: 200, nothing generated, and the reduced `meta_info`; streams get
it as their only chunk. No worker was involved, so no weight version is claimed. Other shapes
(batches, OpenAI routes, which SGLang does not answer in one way) get the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from miles_router.core.request import is_batch, wants_stream
from miles_router.web.replies import send_error, send_json

if TYPE_CHECKING:
    from miles_router.errors import RequestAborted
    from miles_router.web.replies import Send


async def send_aborted(
    send: Send, path: str, body: bytes, rids: tuple[str, ...], error: RequestAborted
) -> None:
    """Answer an aborted request."""
    if path != "/generate" or is_batch(body):
        await send_error(send, error)
        return
    answer = {
        "text": "",
        "output_ids": [],
        "meta_info": {
            "id": rids[0] if rids else "",
            "finish_reason": {"type": "abort", "message": "Abort in waiting queue"},
            "completion_tokens": 0,
        },
    }
    if not wants_stream(body):
        await send_json(send, 200, answer)
        return
    events = b"data: " + msgspec.json.encode(answer) + b"\n\ndata: [DONE]\n\n"
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"content-length", b"%d" % len(events)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": events, "more_body": False})
