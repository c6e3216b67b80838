"""The error answers of SGLang 0.5.23, one constructor for each shape.

SGLang has several error bodies side by side; which one a client sees depends on who noticed the
mistake (the JSON contract, the value checks, FastAPI, the scheduler or the OpenAI routes).
"""

from __future__ import annotations

from typing import Any


class RequestRefused(Exception):
    """A request ends with this status and JSON body.

    Attributes:
        status: HTTP status.
        body: the JSON value to answer with.
        message: the text a person should read.
        in_stream: a streaming request gets this error as an SSE event with HTTP 200, because SGLang
            finds it after the response has begun.
    """

    def __init__(self, status: int, body: Any, message: str, *, in_stream: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.message = message
        self.in_stream = in_stream


def contract_violation(message: str) -> RequestRefused:
    """The strict JSON contract of /generate: `error` is a string."""
    return RequestRefused(400, {"error": message}, message)


def bad_value(message: str) -> RequestRefused:
    """A value SGLang's own checks refuse (a `ValueError` in the tokenizer manager)."""
    return RequestRefused(400, {"error": {"message": message}}, message, in_stream=True)


def error_object(status: int, message: str, kind: str) -> dict[str, Any]:
    """The flat error body of the OpenAI routes and of FastAPI errors."""
    return {"object": "error", "message": message, "type": kind, "param": None, "code": status}


def malformed(message: str) -> RequestRefused:
    """What FastAPI refuses before SGLang sees it: broken JSON, wrong top-level types."""
    return RequestRefused(400, error_object(400, message, "Bad Request"), message)


def scheduler_failure(status: int, message: str) -> RequestRefused:
    """An abort with a status code other than 400, such as a full queue."""
    return RequestRefused(status, error_object(status, message, str(status)), message)


def openai_bad_request(message: str) -> RequestRefused:
    """A refused /v1 request."""
    return RequestRefused(400, error_object(400, message, "BadRequestError"), message)


def stream_error_event(message: str) -> dict[str, Any]:
    """The event a /generate stream carries when the request was refused after the headers."""
    return {
        "error": {
            "message": message,
            "type": "invalid_request_error",
            "code": 400,
            "retryable": False,
        }
    }
