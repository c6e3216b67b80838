"""Which requests the lane takes, and how it reads their targets."""

from __future__ import annotations

import pytest

from miles_router.net.gate import Gate
from miles_router.net.plain import MOST_BODY_BYTES, Target, plain_target


def judge(raw: bytes) -> Target | None:
    gate = Gate()
    assert gate.read_head(raw) == len(raw), "the gate takes it"
    assert gate.head is not None
    return plain_target(gate.head, raw)


def request(line: bytes = b"POST /generate HTTP/1.1", *headers: bytes) -> bytes:
    return b"\r\n".join((line, b"Host: a", *headers, b"", b""))


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        (b"/generate", "/generate", b"/generate", b""),
        (b"/v1/models?", "/v1/models", b"/v1/models", b""),
        (b"/a%20b/../c?x=%20&y?z", "/a b/../c", b"/a%20b/../c", b"x=%20&y?z"),
        (b"/", "/", b"/", b""),
    ],
)
def test_plain_requests_to_data_paths(
    target: bytes, path: str, raw_path: bytes, query: bytes
) -> None:
    for method in (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"):
        found = judge(request(b"%b %b HTTP/1.1" % (method, target)))
        assert found == Target(path, raw_path, query, is_data=True)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (b"Content-Length: 0",),
        (b"Content-Length: %d" % MOST_BODY_BYTES,),
        (b"Connection: close",),
        (b"X-Empty:",),
    ],
)
def test_headers_that_change_nothing(headers: tuple[bytes, ...]) -> None:
    assert judge(request(b"POST /generate HTTP/1.1", *headers)) is not None


@pytest.mark.parametrize(
    "raw",
    [
        request(b"GET /health HTTP/1.1"),
        request(b"GET /generate/../health HTTP/1.1"),
        request(b"GET /%68ealth HTTP/1.1"),
        request(b"POST //flush_cache/ HTTP/1.1"),
        request(b"POST /update_weights_from_disk HTTP/1.1"),
        request(b"HEAD /generate HTTP/1.1"),
        request(b"PROPFIND /generate HTTP/1.1"),
        request(b"POST /generate HTTP/1.0"),
        request(b"POST http://a/generate HTTP/1.1"),
        request(b"OPTIONS * HTTP/1.1"),
        request(b"POST /" + b"a" * 300 + b" HTTP/1.1"),
        request(b"POST /generate HTTP/1.1", b"Transfer-Encoding: chunked"),
        request(b"POST /generate HTTP/1.1", b"Content-Length: 1", b"Expect: 100-continue"),
        request(b"POST /generate HTTP/1.1", b"Content-Length: %d" % (MOST_BODY_BYTES + 1)),
        request(b"POST /generate HTTP/1.1", b"X: \xe4"),
        request(b"POST /generate HTTP/1.1", b"X: a\tb"),
        request(b"POST /generate HTTP/1.1", b"X: a "),
    ],
)
def test_what_is_hypercorns(raw: bytes) -> None:
    assert judge(raw) is None
