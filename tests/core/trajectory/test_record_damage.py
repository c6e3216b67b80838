"""Whatever a segment holds, reading it ends with what is intact, and with a reason."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.trajectory import record as records
from miles_router.core.trajectory.record import (
    MAGIC,
    MAX_RECORD_BYTES,
    FrameReader,
    RemovalRecord,
    TurnRecord,
    check_frame,
    frame,
)
from tests.core.trajectory.test_record import HEADER, framed, plain_turn, read, turns


def peak_bytes_of_reading(segment: bytes) -> int:
    """Memory taken while it is read."""
    tracemalloc.start()
    try:
        read(segment)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_record_torn_at_any_byte_is_dropped_and_the_ones_before_it_are_read() -> None:
    whole, last = HEADER + frame(plain_turn()), frame(RemovalRecord([7]))
    for kept in range(1, len(last)):
        found, reader = read(whole + last[:kept])
        assert found == [plain_turn()]
        assert reader.end == len(whole)
        assert reader.torn is not None
        assert (reader.torn.offset, reader.torn.records_follow) == (len(whole), False)
        assert reader.torn.reason


def test_a_header_torn_at_any_byte_is_no_header() -> None:
    readers = [FrameReader(HEADER[:kept]) for kept in range(len(HEADER))]
    assert {(reader.header, reader.end, *reader.records()) for reader in readers} == {(None, 0)}


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_behind_a_damaged_byte_nothing_is_read(at: int, flip: int) -> None:
    frames = [HEADER, *(frame(plain_turn(n)) for n in range(1, 4))]
    segment = bytearray(b"".join(frames))
    at %= len(segment)
    segment[at] ^= flip
    found, reader = read(bytes(segment))
    starts = [sum(map(len, frames[:n])) for n in range(4)]
    hit = max(n for n in range(4) if starts[n] <= at)
    assert found == [plain_turn(n) for n in range(1, hit)]
    assert reader.torn is not None
    assert (reader.torn.offset, reader.torn.records_follow) == (starts[hit], hit < 3)


@given(noise=st.binary(max_size=300), behind=st.binary(max_size=60))
def test_any_bytes_are_read_without_an_error(noise: bytes, behind: bytes) -> None:
    for segment in (noise, HEADER + noise, HEADER + framed(noise) + behind, framed(noise)):
        found, reader = read(segment)
        assert reader.end <= len(segment)
        assert reader.end == len(segment) or reader.torn is not None
        assert len(list(FrameReader(segment).heads())) >= len(found)


@given(record=turns(), at=st.integers(0, 10**6), noise=st.binary(min_size=1, max_size=4))
def test_a_payload_with_a_right_checksum_and_wrong_content_is_no_error(
    record: TurnRecord, at: int, noise: bytes
) -> None:
    payload = bytearray(check_frame(frame(record)))
    payload[at % len(payload) : at % len(payload) + len(noise)] = noise
    segment = HEADER + framed(bytes(payload))
    found, reader = read(segment)
    assert (len(found), reader.torn is None) in {(1, True), (0, False)}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x92\xa7removal\xdd\xff\xff\xff\xff",  # an array of four thousand million numbers
        b"\x92\xa7removal\xc6\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff\xa4turn\x07",
        b"\x92\xa4turn" + b"\x91" * 100_000,  # nested deeper than Python may go
        b"\x93\xa4turn\x07" + b"\x91" * 100_000,
        b"\x93\xa4turn\x07\xa1\xff",  # text that is no UTF-8
        b"\x92\xa7removal\x91\xa1x",
        b"\x92\xa4none\x07",
        HEADER[12:],  # a header where none belongs
    ],
)
def test_a_hostile_payload_costs_no_memory_and_is_no_record(payload: bytes) -> None:
    segment = HEADER + framed(payload) + frame(plain_turn())
    found, reader = read(segment)
    assert found == []
    assert reader.torn is not None
    assert reader.torn.records_follow
    assert peak_bytes_of_reading(segment) < 2_000_000
    assert len(list(FrameReader(segment).heads())) <= 2  # less is looked at, and no error either


@pytest.mark.parametrize("length", [1, 1_000_000, MAX_RECORD_BYTES + 1, 0xFFFFFFFF])
def test_a_length_beyond_the_segment_allocates_nothing(length: int) -> None:
    segment = HEADER + struct.pack("<4sII", MAGIC, length, 0)
    found, reader = read(segment)
    assert (found, reader.end) == ([], len(HEADER))
    assert reader.torn is not None
    assert f"{length} bytes" in reader.torn.reason
    assert peak_bytes_of_reading(segment) < 100_000


def test_a_record_above_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    segment = HEADER + frame(RemovalRecord([7])) + frame(plain_turn())
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 100)
    found, reader = read(segment)
    assert found == [RemovalRecord([7])]
    assert reader.torn is not None


def test_the_search_behind_damage_ends() -> None:
    # Frames that overlap and claim everything behind them: each would be summed up to its end.
    lures = 5_000
    heads = [struct.pack("<4sII", MAGIC, (lures - n) * 12 - 12, 0) for n in range(lures)]
    found, reader = read(HEADER + b"".join(heads))
    assert found == []
    assert reader.torn is not None
    assert reader.torn.records_follow  # taken for granted: nothing is thrown away


def test_nothing_that_a_client_sends_looks_like_a_frame() -> None:
    with pytest.raises(UnicodeDecodeError):
        MAGIC[:1].decode()
    assert 0 not in MAGIC
