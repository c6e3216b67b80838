from __future__ import annotations

from miles_router.sim import refusals


def test_the_shapes_of_sglangs_errors() -> None:
    assert refusals.contract_violation("m").body == {"error": "m"}
    assert refusals.bad_value("m").body == {"error": {"message": "m"}}
    queue_full = refusals.scheduler_failure(503, "The request queue is full.")
    assert queue_full.status == 503
    assert queue_full.body == {
        "object": "error",
        "message": "The request queue is full.",
        "type": "503",
        "param": None,
        "code": 503,
    }
    assert refusals.openai_bad_request("m").body["type"] == "BadRequestError"
    assert refusals.stream_error_event("m") == {
        "error": {
            "message": "m",
            "type": "invalid_request_error",
            "code": 400,
            "retryable": False,
        }
    }


def test_only_value_errors_arrive_inside_a_stream() -> None:
    assert refusals.bad_value("m").in_stream
    assert not refusals.contract_violation("m").in_stream
    assert not refusals.malformed("m").in_stream
