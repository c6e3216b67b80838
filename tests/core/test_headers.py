"""Which headers cross, in either direction."""

from __future__ import annotations

import pytest

from miles_router.core.headers import (
    HOP_BY_HOP,
    Headers,
    first,
    named_in_connection,
    session_of,
    to_client,
    to_worker,
    trace_of,
)

TRACE: Headers = [
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"tracestate", b"a=1"),
    (b"tracestate", b"b=2"),
    (b"baggage", b"x=y"),
]
KEPT: Headers = [
    *TRACE,
    (b"content-type", b"application/json"),
    (b"x-smg-routing-key", b"s1"),
    (b"accept", b"a"),
    (b"accept", b"b"),
    (b"x-custom", b""),
]


def sent(headers: Headers, *, api_key: str | None = None, forward: bool = False) -> Headers:
    return to_worker(headers, request_id=b"r1", api_key=api_key, forward_authorization=forward)


def test_end_to_end_headers_reach_the_worker_in_order_with_the_request_id() -> None:
    assert sent(KEPT) == [*KEPT, (b"x-request-id", b"r1")]


def test_the_id_of_the_request_is_the_routers_and_comes_once() -> None:
    assert sent([(b"x-request-id", b"x"), (b"x-request-id", b"y")]) == [(b"x-request-id", b"r1")]


def test_the_trace_of_a_request_is_found_in_its_order() -> None:
    assert trace_of([*KEPT, (b"trace", b"x")]) == TRACE
    assert trace_of([]) == []


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP | {b"host", b"content-length", b"expect"}))
def test_what_belongs_to_one_hop_stops_before_the_worker(name: bytes) -> None:
    assert sent([(name, b"value")]) == [(b"x-request-id", b"r1")]


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_what_belongs_to_one_hop_stops_before_the_client(name: bytes) -> None:
    assert to_client([(name, b"value")], worker_id="w1") == [(b"x-miles-worker", b"w1")]


def test_headers_named_by_connection_stop_in_both_directions() -> None:
    headers = [
        (b"connection", b"X-One , close"),
        (b"x-one", b"1"),
        (b"connection", b"x-two"),
        (b"x-two", b"2"),
        (b"x-three", b"3"),
    ]
    assert named_in_connection(headers) >= {b"x-one", b"x-two", b"close"}
    assert sent(headers) == [(b"x-three", b"3"), (b"x-request-id", b"r1")]
    assert to_client(headers, worker_id="w1") == [(b"x-three", b"3"), (b"x-miles-worker", b"w1")]


@pytest.mark.parametrize(
    ("api_key", "forward", "authorization"),
    [
        (None, False, []),
        ("worker-key", False, [b"Bearer worker-key"]),
        (None, True, [b"Bearer caller"]),
        ("worker-key", True, [b"Bearer caller"]),
    ],
)
def test_whose_authorization_the_worker_gets(
    api_key: str | None, forward: bool, authorization: list[bytes]
) -> None:
    headers = sent([(b"authorization", b"Bearer caller")], api_key=api_key, forward=forward)
    assert [value for name, value in headers if name == b"authorization"] == authorization


@pytest.mark.parametrize("forward", [True, False])
def test_the_workers_own_key_is_sent_where_the_caller_has_none(forward: bool) -> None:
    own = [(b"authorization", b"Bearer worker-key"), (b"x-request-id", b"r1")]
    assert sent([], api_key="worker-key", forward=forward) == own
    assert sent([], forward=forward) == [(b"x-request-id", b"r1")]
    hop = [(b"connection", b"authorization"), (b"authorization", b"Bearer caller")]
    assert sent(hop, api_key="worker-key", forward=forward) == own


def test_the_client_learns_which_worker_answered_and_no_worker_can_fake_it() -> None:
    answer = [(b"x-miles-worker", b"fake"), (b"x-request-id", b"theirs"), *KEPT]
    assert to_client(answer, worker_id="w1") == [*KEPT, (b"x-miles-worker", b"w1")]


def test_the_length_of_an_answer_crosses() -> None:
    headers = to_client([(b"content-length", b"5")], worker_id="w1")
    assert first(headers, b"content-length") == b"5"


def test_the_first_value_of_a_name() -> None:
    assert first(KEPT, b"accept") == b"a"
    assert first(KEPT, b"missing") is None


@pytest.mark.parametrize(
    ("headers", "session"),
    [
        ([], None),
        ([(b"x-smg-routing-key", b"smg")], "smg"),
        ([(b"x-miles-session", b"miles")], "miles"),
        ([(b"x-smg-routing-key", b"smg"), (b"x-miles-session", b"miles")], "miles"),
        ([(b"x-miles-session", b""), (b"x-smg-routing-key", b"smg")], "smg"),
        ([(b"x-miles-session", b"")], None),
        ([(b"x-miles-session", b"\xff")], "\xff"),
    ],
)
def test_the_session_that_a_caller_names(headers: Headers, session: str | None) -> None:
    assert session_of(headers) == session
