"""What the journal says about turns, as bytes: records, their frames, and how a segment is read.

A segment is a row of frames: a header, then turns and what became of them, as it happened. A turn
is alive from its record on until a removal that comes after it names its number. A frame is

    4 bytes magic | u32 length of the payload | u32 CRC-32 of length and payload | payload (msgpack)

with little-endian numbers. The first byte of the magic stands in no UTF-8 text, and none of its
bytes is zero while each token id has a zero in its upper byte: nothing that a client sends looks
like the beginning of a frame. The layout of the records is the format on disk: a change of it is a
new FORMAT_VERSION. This file must not know files, clocks or the store.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from miles_router.core.radix.run import ID_BYTES, LENGTH_BYTES, TokenRun
from miles_router.core.trajectory.turn import VersionSpan  # noqa: TC001  # msgspec looks it up

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT_VERSION = 1
MAGIC = b"\xffMJ\xfe"
# The routed experts of 100,000 tokens, 60 layers and 8 experts are 48 MB narrow, 96 MB as uint16.
MAX_RECORD_BYTES = 256 << 20
LOGPROB_BYTES = 4
R3_VALUE_BYTES = {"int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4}

_HEAD = struct.Struct("<4sII")
# Behind damage, so many places that look like a frame are tried before it is taken for granted.
_MAX_CANDIDATES = 1_000


class UnfitRecord(ValueError):
    """A record that contradicts itself, or that cannot be written."""


class UnfitSegment(ValueError):
    """A segment of another format or tokenizer; the message is for people."""


class BrokenFrame(ValueError):
    """Bytes that are no whole frame with a record of this format; the message says why."""


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise UnfitRecord(what)


class R3Record(msgspec.Struct, frozen=True, array_like=True):
    """Routed experts of a turn, in the record or in a file beside the journal.

    Args:
        start: position of the first row, in tokens from the root.
        rows, width: `rows` rows of num_layers * top_k values.
        dtype: a key of R3_VALUE_BYTES; little-endian.
        data: the values in C order; None if they are in `file`.
        file: plain name of a file in the directory of routed experts; None if `data` is here.
    """

    start: int
    rows: int
    width: int
    dtype: str
    data: bytes | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        """Raises UnfitRecord."""
        _require(min(self.start, self.rows, self.width) >= 0, "negative extent of routed experts")
        _require(self.dtype in R3_VALUE_BYTES, f"routed experts as {self.dtype[:20]!r}")
        _require((self.data is None) != (self.file is None), "routed experts need data or a file")
        if self.data is not None:
            size_bytes = self.rows * self.width * R3_VALUE_BYTES[self.dtype]
            _require(len(self.data) == size_bytes, "routed experts do not fill their rows")
        if self.file is not None:
            is_plain = self.file not in {"", ".", ".."} and not set(self.file) & {"/", "\\", "\0"}
            _require(is_plain, "routed experts in a file that has no plain name")


class TurnRecord(msgspec.Struct, frozen=True, array_like=True, tag="turn"):
    """A stored turn: what `NewTurn` says, with numbers in place of other turns.

    Args:
        number: unique, increasing in the order of storing.
        namespace: tenant.
        trajectory: id of the one whose last turn this became.
        session, rid, finish, r3: as in NewTurn.
        parent: number of the turn that this one continues; below `number`.
        inherited: so many tokens of the parent's path begin the prompt; 0 without a parent.
        prompt, is_text_prompt: the tokens of the prompt behind those.
        output, visible_tokens, partial: as in SpelledOutput.
        logprobs: float32, little-endian, one for each output token; NaN: none known.
        stored_at_unix: seconds.
    """

    number: int
    namespace: str
    trajectory: str
    session: str | None
    rid: str | None
    parent: int | None
    inherited: int
    prompt: TokenRun
    is_text_prompt: bool
    output: TokenRun
    visible_tokens: int
    partial: bytes
    logprobs: bytes
    versions: tuple[VersionSpan, ...]
    finish: str
    stored_at_unix: float
    r3: R3Record | None = None

    def __post_init__(self) -> None:
        """Raises UnfitRecord."""
        above = -1 if self.parent is None else self.parent
        _require(-1 <= above < self.number, "a turn that is not later than its parent")
        may_inherit = self.inherited == 0 or (self.inherited > 0 and self.parent is not None)
        _require(may_inherit, "tokens inherited from no parent")
        _require(_fits(self.prompt), "prompt: ids, lengths and text do not fit")
        _require(_fits(self.output), "output: ids, lengths and text do not fit")
        tokens = len(self.output)
        _require(len(self.logprobs) == tokens * LOGPROB_BYTES, "not one logprob for each token")
        _require(0 <= self.visible_tokens <= tokens, "more tokens visible than there are")
        in_range = all(0 <= span.start <= span.end <= tokens for span in self.versions)
        _require(in_range, "a weight version of tokens that are not there")


class RemovalRecord(msgspec.Struct, frozen=True, array_like=True, tag="removal"):
    """The turns with these numbers are gone: evicted or deleted."""

    numbers: list[int]


class OrphanRecord(msgspec.Struct, frozen=True, array_like=True, tag="orphan"):
    """No trajectory ends with these turns any more: theirs are gone, and others continue them."""

    numbers: list[int]


class SegmentHeader(msgspec.Struct, frozen=True, array_like=True, tag="header"):
    """First record of a segment: who can read it. `fingerprint`: of the tokenizer."""

    version: int
    fingerprint: str

    def check(self, fingerprint: str) -> None:
        """Raise UnfitSegment unless a router with this tokenizer can use the segment."""
        if self.version != FORMAT_VERSION:
            raise UnfitSegment(f"it has format {self.version}, not {FORMAT_VERSION}")
        if self.fingerprint != fingerprint:
            theirs, ours = self.fingerprint[:16], fingerprint[:16]
            raise UnfitSegment(f"it is of another tokenizer (fingerprint {theirs}, not {ours})")


class TurnHead(msgspec.Struct, frozen=True, array_like=True, tag="turn"):
    """A TurnRecord of which only the number is looked at: 0.3 us for 1,000 tokens, not 11."""

    number: int


Record = TurnRecord | RemovalRecord | OrphanRecord
Head = TurnHead | RemovalRecord | OrphanRecord
RecordT = TypeVar("RecordT")


class TornAt(NamedTuple):
    """Where a segment cannot be read further. `records_follow`: intact frames come after it."""

    offset: int
    reason: str
    records_follow: bool


_ENCODER = msgspec.msgpack.Encoder()
_HEADERS = msgspec.msgpack.Decoder(SegmentHeader)
_HEADS = msgspec.msgpack.Decoder(Head)
_RECORDS = msgspec.msgpack.Decoder(Record)


def frame(record: Record | SegmentHeader) -> bytes:
    """The record as one frame.

    Raises:
        UnfitRecord: larger than MAX_RECORD_BYTES, or a string or number that msgpack cannot hold.
    """
    try:
        payload = _ENCODER.encode(record)
    except (ValueError, OverflowError) as error:
        raise UnfitRecord(f"a record that cannot be written: {error}") from None
    if len(payload) > MAX_RECORD_BYTES:
        raise UnfitRecord(f"a record of {len(payload)} bytes; {MAX_RECORD_BYTES} are the limit")
    checksum = _checksum(len(payload), payload)
    return b"".join((_HEAD.pack(MAGIC, len(payload), checksum), payload))


def read_turn(frame_bytes: bytes) -> TurnRecord:
    """The turn in exactly one frame; raises BrokenFrame."""
    record = _decode(_RECORDS, check_frame(frame_bytes))
    if not isinstance(record, TurnRecord):
        raise BrokenFrame("no turn")
    return record


def check_frame(frame_bytes: bytes) -> memoryview:
    """The payload of exactly one frame, shared; raises BrokenFrame."""
    payload = _payload(memoryview(frame_bytes), 0)
    if _HEAD.size + len(payload) != len(frame_bytes):
        raise BrokenFrame("bytes behind the frame")
    return payload


class FrameReader:
    """Reads the bytes of one segment up to the first frame that is torn or damaged; never raises.

    `header` is there from the start, None if it is damaged. `end` is the offset behind the frame
    that was read last. When all are read, `torn` says why there is more; None if there is not.
    """

    def __init__(self, data: bytes) -> None:
        self._raw, self._data = data, memoryview(data)
        self.end = 0
        self.torn: TornAt | None = None
        self.header = next((header for _offset, header in self._read(_HEADERS)), None)

    def heads(self) -> Iterator[tuple[int, Head]]:
        """Offset and record of each frame behind the header; of a turn only its number."""
        return self._read(_HEADS) if self.header is not None else iter(())

    def records(self) -> Iterator[tuple[int, Record]]:
        """Offset and record of each frame behind the header."""
        return self._read(_RECORDS) if self.header is not None else iter(())

    def _read(self, decoder: msgspec.msgpack.Decoder[RecordT]) -> Iterator[tuple[int, RecordT]]:
        while self.end < len(self._data):
            try:
                payload = _payload(self._data, self.end)
                record = _decode(decoder, payload)
            except BrokenFrame as fault:
                self.torn = TornAt(self.end, str(fault), self._records_follow())
                return
            offset = self.end
            self.end += _HEAD.size + len(payload)
            yield offset, record

    def _records_follow(self) -> bool:
        at = self.end
        for _ in range(_MAX_CANDIDATES):
            at = self._raw.find(MAGIC, at + 1)
            if at < 0:
                return False
            try:
                _payload(self._data, at)
            except BrokenFrame:
                continue
            break
        return True


def _checksum(length: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(length.to_bytes(4, "little")))


def _payload(data: memoryview, at: int) -> memoryview:
    """The checked payload of the frame at `at`; nothing is allocated, whatever a length says."""
    left = len(data) - at
    if left < _HEAD.size:
        raise BrokenFrame(f"{left} bytes of a record")
    magic, length, checksum = _HEAD.unpack_from(data, at)
    if magic != MAGIC:
        raise BrokenFrame("no record begins here")
    if length > MAX_RECORD_BYTES or length > left - _HEAD.size:
        raise BrokenFrame(f"a record of {length} bytes, of which {left - _HEAD.size} are there")
    payload = data[at + _HEAD.size : at + _HEAD.size + length]
    if _checksum(length, payload) != checksum:
        raise BrokenFrame("a record whose checksum is wrong")
    return payload


def _decode(decoder: msgspec.msgpack.Decoder[RecordT], payload: memoryview) -> RecordT:
    try:
        return decoder.decode(payload)
    except (ValueError, RecursionError) as error:  # msgspec's own, and broken UTF-8: ValueErrors
        raise BrokenFrame(f"no record of this format: {error}") from None


def _fits(run: TokenRun) -> bool:
    """Whether ids, lengths and text belong together."""
    tokens = len(run)
    is_packed = (len(run.ids), len(run.lengths)) == (tokens * ID_BYTES, tokens * LENGTH_BYTES)
    return is_packed and int(run.length_array.sum()) == len(run.text)
