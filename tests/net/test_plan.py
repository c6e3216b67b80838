"""A head is remembered only for heads that the gate reads as the same, but for the length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from miles_router.core.auth import Caller
from miles_router.net.express import MOST_BODY_BYTES
from miles_router.net.gate import Gate
from miles_router.net.plain import plain_target
from miles_router.net.plan import MOST_HEAD_BYTES, MOST_HEADS, Plan, Plans, cut

if TYPE_CHECKING:
    from miles_router.net.request_head import RequestHead

HEAD = b"POST /generate HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n"
LENGTH = b"Content-Length: 5"


def read(raw: bytes) -> RequestHead | None:
    """The head that `raw` begins with, if the lane may serve it."""
    gate = Gate()
    size_bytes = gate.read_head(raw)
    if not isinstance(size_bytes, int) or gate.head is None:
        return None
    return None if plain_target(gate.head, raw[:size_bytes]) is None else gate.head


def plan_of(raw: bytes) -> Plan | None:
    """What the express would learn of `raw`."""
    head = read(raw)
    if head is None or head.closes:
        return None
    target = plain_target(head, raw[: raw.find(b"\r\n\r\n") + 4])
    assert target is not None
    parts: dict[str, Any] = {"path": "/generate", "path_class": "generate", "caller": Caller()}
    parts |= {"session": None, "request_id": None, "line": b"", "rest": b"", "takes_key": True}
    return Plan(head=head, target=target, **parts)


def known(raw: bytes) -> Plans:
    """The plans after a request with the head `raw`."""
    plans = Plans()
    plan = plan_of(raw)
    if plan is not None:
        plans.learn(raw[: raw.find(b"\r\n\r\n") + 4], plan)
    return plans


def parts_of(head: RequestHead) -> tuple[Any, ...]:
    others = [(name, value) for name, value in head.headers if name != b"content-length"]
    return (head.method, head.target, others, head.closes, head.is_plain)


def find(plans: Plans, data: bytes) -> tuple[Plan, int, int] | None:
    """The plan for `data`, with the end of its head and the length of its body."""
    found = cut(data)
    plan = None if found is None else plans.get(found[0])
    return None if found is None or plan is None else (plan, *found[1:])


def assert_true(plans: Plans, data: bytes) -> None:
    """What is found for `data` is what reading it would find."""
    found = find(plans, data)
    if found is None:
        return
    plan, end, length = found
    if length > MOST_BODY_BYTES:  # not served by the express, whatever is known
        return
    head = read(data)
    assert head is not None
    assert data[:end] == data[: data.find(b"\r\n\r\n") + 4]
    assert head.body_bytes == length
    assert parts_of(head) == parts_of(plan.head)
    assert plan.headers(length) == head.headers


LINES = [
    LENGTH,
    b"content-length: 5",
    b"Content-length: 05",
    b"CONTENT-LENGTH: 5",
    b"Content-Length:5",
    b"Content-Length: 5 ",
    b"Content-Length: +5",
    b"Content-Length: 123456789012345",
    b"Content-Length: 1234567890123456",
    b"X: \r\nContent-Length: 7",
    b"X-Content-Length: 9",
    b"x: Content-Length: 3",
    b"Transfer-Encoding: chunked",
    b"Connection: close",
    b"Connection: content-length",
    b"Expect: 100-continue",
    b"Authorization: Bearer content-length: 4",
    b"x-miles-session: s",
    b"X-Request-Id: 5",
]
HEADS = st.lists(st.sampled_from(LINES), min_size=1, max_size=4).map(
    lambda lines: HEAD % b"\r\n".join(lines)
)
TAILS = st.sampled_from([b"", b"hello", b"\r\nContent-Length: 5\r\n\r\n", HEAD % LENGTH])
CHANGES = st.lists(
    st.tuples(st.integers(0, 200), st.sampled_from([b"", b"0", b"5", b"9", b"\r\n", b"\n", b":"])),
    max_size=3,
)


@given(first=HEADS, then=HEADS, tail=TAILS, changes=CHANGES)
@example(first=HEAD % LENGTH, then=HEAD % LENGTH, tail=b"", changes=[(len(HEAD), b"9")])
def test_what_is_found_is_what_would_be_read(
    first: bytes, then: bytes, tail: bytes, changes: list[tuple[int, bytes]]
) -> None:
    plans = known(first)
    for data in (first, then):
        assert_true(plans, data + tail)
        changed = bytearray(data + tail)
        for position, replacement in changes:
            changed[position : position + 1] = replacement
        assert_true(plans, bytes(changed))


@given(
    first=HEADS, length=st.one_of(st.integers(0, 70_000), st.integers(0, 2**70)), tail=st.binary()
)
@example(first=HEAD % LENGTH, length=10**15, tail=b"")
def test_another_length_is_the_same_head(first: bytes, length: int, tail: bytes) -> None:
    plans = known(first)
    found = cut(first)
    if found is None:
        assert len(plans) == 0
        return
    start, stop = found[0]
    data = start + b"%d" % length + stop + tail
    assert_true(plans, data)
    if len(plans) and length < 10**15:
        assert find(plans, data) is not None, "it is of use"


@pytest.mark.parametrize("number", [b"0", b"5", b"10", b"999999999999999"])
def test_a_plain_number_is_a_length(number: bytes) -> None:
    raw = HEAD % b"Content-Length: %b" % number
    assert cut(raw + b"body") == (
        (raw[: raw.index(number, 30)], b"\r\n\r\n"),
        len(raw),
        int(number),
    )


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 05",
        b"Content-Length: 00",
        b"Content-Length: 1000000000000000",
        b"Content-Length: -1",
        b"Content-Length:  5",
        b"Content-Length: 5 ",
        b"Content-Length: 5, 5",
        b"Content-Length: 0x5",
        b"CONTENT-LENGTH: 5",
        b"X-Content-Length: 5",
        b"Host: a",
    ],
)
def test_what_is_no_plain_length_is_not_cut(line: bytes) -> None:
    assert cut(HEAD % line) is None


def test_the_length_stands_in_the_head() -> None:
    bare = b"POST /generate HTTP/1.1\r\nHost: a\r\n\r\n"
    behind = b"\r\nContent-Length: 5\r\n\r\n"
    assert find(known(HEAD % LENGTH), bare + behind) is None
    assert len(known(bare + behind)) == 0


def test_two_lengths_are_refused() -> None:
    for second in (LENGTH, b"content-length: 7", b"CONTENT-LENGTH: 5"):
        assert len(known(HEAD % (LENGTH + b"\r\n" + second))) == 0


def test_long_heads_are_not_remembered() -> None:
    filling = MOST_HEAD_BYTES - len(HEAD % LENGTH) + len(b"%b") - len(b"\r\nx: ") - 2
    longest = HEAD % (LENGTH + b"\r\nx: " + b"y" * filling)
    assert len(longest) == MOST_HEAD_BYTES
    assert find(known(longest), longest + b"hello") is not None
    assert cut(longest[:-4] + b"y\r\n\r\n") is None


def test_a_head_that_is_not_whole_is_not_known() -> None:
    whole = HEAD % LENGTH
    plans = known(whole)
    assert [end for end in range(len(whole)) if find(plans, whole[:end])] == []


def test_what_is_remembered_has_a_bound() -> None:
    plans, plan = Plans(), plan_of(HEAD % LENGTH)
    assert plan is not None
    for number in range(MOST_HEADS + 10):
        plans.learn(HEAD % b"X: %d\r\nContent-Length: 5" % number, plan)
        assert 0 < len(plans) <= MOST_HEADS
    assert len(plans) == 10


def test_a_plan_is_learnt_only_with_its_own_length() -> None:
    plans, plan = Plans(), plan_of(HEAD % LENGTH)
    assert plan is not None
    plans.learn(HEAD % b"Content-Length: 6", plan)
    plans.learn(HEAD % LENGTH + b"hello", plan)
    assert len(plans) == 0


def test_a_plan_does_not_show_its_callers_key() -> None:
    plan = plan_of(HEAD % (LENGTH + b"\r\nAuthorization: Bearer secret-key"))
    assert plan is not None
    assert any(b"secret-key" in value for _, value in plan.head.headers)
    assert "secret" not in repr(plan)
