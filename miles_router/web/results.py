"""Answers of many workers as one JSON value and one status."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miles_router.net.fanout import WorkerReply

# Texts of workers are shown, not relayed: enough to read an error, not a metrics page.
SHOWN_TEXT_CHARS = 2000


def result_of(result: WorkerReply) -> dict[str, object]:
    """What one worker said."""
    shown: dict[str, object] = {"worker": result.worker.id, "url": result.worker.url}
    if result.reply is None:
        fault = result.fault
        shown["error"] = None if fault is None else {"code": fault.code, "message": fault.message}
        return shown
    body = result.reply.json()
    if body is None and result.reply.body:
        body = result.reply.body.decode("utf-8", "replace")[:SHOWN_TEXT_CHARS]
    return {**shown, "status": result.reply.status, "body": body}


def fan_out_status(results: Sequence[WorkerReply]) -> int:
    """200: all succeeded (or none was asked); 206: some; 502: none."""
    succeeded = sum(result.is_success for result in results)
    if succeeded == len(results):
        return 200
    return 206 if succeeded else 502
