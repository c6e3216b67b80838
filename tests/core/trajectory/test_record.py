"""Records are read as they were written, and none that contradicts itself."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.radix.run import EMPTY, TokenRun
from miles_router.core.trajectory import record as records
from miles_router.core.trajectory.record import (
    FORMAT_VERSION,
    MAGIC,
    R3_VALUE_BYTES,
    BrokenFrame,
    FrameReader,
    OrphanRecord,
    R3Record,
    Record,
    RemovalRecord,
    SegmentHeader,
    TurnHead,
    TurnRecord,
    UnfitRecord,
    UnfitSegment,
    frame,
    read_turn,
)
from miles_router.core.trajectory.turn import VersionSpan

HEADER = frame(SegmentHeader(FORMAT_VERSION, "f" * 64))


def plain_turn(number: int = 7) -> TurnRecord:
    """A turn of five tokens, the last of which shows nothing."""
    return TurnRecord(
        number=number,
        namespace="tenant",
        trajectory="t-1",
        session="s",
        rid=None,
        parent=number - 1,
        inherited=3,
        prompt=TokenRun.of([1, 2], [2, 3], b"abcde"),
        is_text_prompt=True,
        output=TokenRun.of([53122, 316, 2], [4, 2, 0], b" Panto"),
        visible_tokens=1,
        partial=b"t",
        logprobs=struct.pack("<3f", -0.5, -1.5, float("nan")),
        versions=(VersionSpan("default", 0, 1), VersionSpan(None, 1, 3)),
        finish="stop",
        stored_at_unix=1.7e9,
        r3=R3Record(start=2, rows=2, width=3, dtype="uint8", data=b"abcdef"),
    )


def framed(payload: bytes) -> bytes:
    """Any bytes in an intact frame."""
    length = len(payload)
    checksum = zlib.crc32(length.to_bytes(4, "little") + payload)
    return struct.pack("<4sII", MAGIC, length, checksum) + payload


@st.composite
def runs(draw: st.DrawFn) -> TokenRun:
    pieces = draw(st.lists(st.text(max_size=5), max_size=8))
    ids = draw(st.lists(st.integers(0, 2**31 - 1), min_size=len(pieces), max_size=len(pieces)))
    return TokenRun.of(ids, [len(p.encode()) for p in pieces], "".join(pieces).encode())


@st.composite
def r3_records(draw: st.DrawFn) -> R3Record:
    rows, width = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    dtype = draw(st.sampled_from(sorted(R3_VALUE_BYTES)))
    size = rows * width * R3_VALUE_BYTES[dtype]
    data = draw(st.none() | st.binary(min_size=size, max_size=size))
    file = "7.r3" if data is None else None
    return R3Record(draw(st.integers(0, 99)), rows, width, dtype, data, file)


@st.composite
def turns(draw: st.DrawFn) -> TurnRecord:
    number, output, names = draw(st.integers(0, 2**62)), draw(runs()), st.text(max_size=9)
    tokens = len(output)
    parent = draw(st.none() | st.integers(0, number - 1)) if number else None
    cuts = sorted(draw(st.lists(st.integers(0, tokens), max_size=3)))
    edges = zip([0, *cuts], [*cuts, tokens], strict=True)
    return TurnRecord(
        number=number,
        namespace=draw(names),
        trajectory=draw(names),
        session=draw(st.none() | names),
        rid=draw(st.none() | names),
        parent=parent,
        inherited=0 if parent is None else draw(st.integers(0, 10**6)),
        prompt=draw(runs()),
        is_text_prompt=draw(st.booleans()),
        output=output,
        visible_tokens=draw(st.integers(0, tokens)),
        partial=draw(st.binary(max_size=5)),
        logprobs=draw(st.binary(min_size=4 * tokens, max_size=4 * tokens)),
        versions=tuple(VersionSpan(draw(st.none() | names), a, b) for a, b in edges),
        finish=draw(names),
        stored_at_unix=draw(st.floats(0, 1e10)),
        r3=draw(st.none() | r3_records()),
    )


numbers = st.lists(st.integers(0, 2**62), max_size=5)
told = st.builds(RemovalRecord, numbers) | st.builds(OrphanRecord, numbers)
anything = st.lists(turns() | told, max_size=5)


def read(segment: bytes) -> tuple[list[Record], FrameReader]:
    reader = FrameReader(segment)
    found = [record for _offset, record in reader.records()]
    return found, reader


@given(record=turns())
def test_a_turn_is_read_as_it_was_written(record: TurnRecord) -> None:
    assert read_turn(frame(record)) == record


@given(written=anything)
def test_a_segment_is_read_in_order(written: list[Record]) -> None:
    segment = HEADER + b"".join(map(frame, written))
    found, reader = read(segment)
    assert found == written
    assert (reader.torn, reader.end) == (None, len(segment))
    assert reader.header == SegmentHeader(FORMAT_VERSION, "f" * 64)
    reader = FrameReader(segment)
    for (offset, head), record in zip(reader.heads(), written, strict=True):
        assert segment[offset : reader.end] == frame(record)
        assert head == (TurnHead(record.number) if isinstance(record, TurnRecord) else record)


def test_the_format_on_disk_is_this_one() -> None:
    # A change of these bytes makes journals unreadable: it needs another FORMAT_VERSION.
    assert framed(b"\x93\xa6header\x01\xd9\x40" + b"f" * 64) == HEADER
    assert framed(b"\x92\xa7removal\x92\x01\xcd\x01\x2c") == frame(RemovalRecord([1, 300]))
    assert framed(b"\x92\xa6orphan\x92\x01\xcd\x01\x2c") == frame(OrphanRecord([1, 300]))
    prompt, output = plain_turn().prompt, plain_turn().output
    runs = [{"ids": run.ids, "lengths": run.lengths, "text": run.text} for run in (prompt, output)]
    spans = [{"version": "default", "start": 0, "end": 1}, {"version": None, "start": 1, "end": 3}]
    fields = ["turn", 7, "tenant", "t-1", "s", None, 6, 3, runs[0], True, runs[1], 1, b"t"]
    fields += [plain_turn().logprobs, spans, "stop", 1.7e9, [2, 2, 3, "uint8", b"abcdef", None]]
    assert framed(msgspec.msgpack.encode(fields)) == frame(plain_turn())


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"number": -1, "parent": None, "inherited": 0}, "later than its parent"),
        ({"parent": 7}, "later than its parent"),
        ({"parent": -2}, "later than its parent"),
        ({"parent": None}, "inherited from no parent"),
        ({"inherited": -1}, "inherited from no parent"),
        ({"prompt": TokenRun(b"\0" * 4, b"\0\0", b"a")}, "prompt"),
        ({"prompt": TokenRun(b"\0" * 5, b"\0\0", b"")}, "prompt"),
        ({"prompt": TokenRun(b"\0" * 4, b"\0\0\0", b"")}, "prompt"),
        ({"output": TokenRun(b"", b"\0\0", b"")}, "output"),
        ({"output": EMPTY}, "one logprob for each"),
        ({"logprobs": b""}, "one logprob for each"),
        ({"visible_tokens": 4}, "more tokens visible"),
        ({"visible_tokens": -1}, "more tokens visible"),
        ({"versions": (VersionSpan("1", 0, 4),)}, "weight version"),
        ({"versions": (VersionSpan("1", 2, 1),)}, "weight version"),
    ],
)
def test_a_turn_that_contradicts_itself_is_neither_made_nor_read(
    fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(UnfitRecord, match=why):
        msgspec.structs.replace(plain_turn(), **fields)
    values = {**msgspec.structs.asdict(plain_turn()), **fields}
    payload = msgspec.msgpack.encode(["turn", *values.values()])
    with pytest.raises(BrokenFrame, match=why):
        read_turn(framed(payload))


@pytest.mark.parametrize(
    "fields",
    [
        {"start": -1},
        {"rows": 3},
        {"dtype": "object"},
        {"data": None},
        {"file": "a.r3"},
        {"data": None, "file": ""},
        {"data": None, "file": ".."},
        {"data": None, "file": "../a"},
        {"data": None, "file": "/etc/passwd"},
        {"data": None, "file": "a\0b"},
    ],
)
def test_routed_experts_that_contradict_themselves_are_refused(fields: dict[str, Any]) -> None:
    whole = R3Record(start=0, rows=2, width=3, dtype="uint8", data=b"abcdef")
    with pytest.raises(UnfitRecord):
        msgspec.structs.replace(whole, **fields)


@pytest.mark.parametrize(
    "fields", [{"session": "\ud800"}, {"number": 2**64, "parent": 1}, {"rid": "\udfff"}]
)
def test_what_msgpack_cannot_hold_is_an_error_of_its_own(fields: dict[str, Any]) -> None:
    with pytest.raises(UnfitRecord):
        frame(msgspec.structs.replace(plain_turn(), **fields))


def test_a_record_that_is_too_large_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 100)
    with pytest.raises(UnfitRecord, match="100 are the limit"):
        frame(plain_turn())


@pytest.mark.parametrize(
    "bytes_of_one",
    [frame(RemovalRecord([7])), frame(OrphanRecord([7])), frame(plain_turn()) + b"\0", b"", HEADER],
)
def test_only_exactly_one_turn_is_read_as_a_turn(bytes_of_one: bytes) -> None:
    with pytest.raises(BrokenFrame):
        read_turn(bytes_of_one)


def test_a_segment_is_for_one_format_and_one_tokenizer() -> None:
    header = SegmentHeader(FORMAT_VERSION, "ab" * 32)
    header.check("ab" * 32)
    with pytest.raises(UnfitSegment, match=r"another tokenizer .*abababababababab, not cdcdcdcd"):
        header.check("cd" * 32)
    with pytest.raises(UnfitSegment, match=f"format 2, not {FORMAT_VERSION}"):
        SegmentHeader(2, "ab" * 32).check("ab" * 32)
