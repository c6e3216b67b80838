"""SGLang's encoding of routed experts: base64 of little-endian int32, C order, without its shape.

Which rows an answer holds follows from its token counts and from the start that was asked for;
some builds ignore that start and send rows from 0 on. What could be read both ways is invalid.
This file must not know JSON beyond the escapes of one string, nor where rows are kept.

Everything goes in chunks, for two reasons. Memory: 67 MB of text become 12 MB of uint8 with 0.8 MB
beside them, never 50 MB of int32. Time: base64 is decoded with the interpreter locked, and a chunk
holds it for 0.3 ms, where a thread that decodes all at once would stop the event loop for 90 ms.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from miles_router.core.r3.block import DTYPES, Dtype, InvalidR3, Payload, R3Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from miles_router.core.r3.shape import ExpertShape

INT_BYTES = 4
# 16 characters are 12 bytes are 3 numbers: a chunk of this many characters ends with a number.
GROUP_CHARS, GROUP_INTS = 16, 3
# 64 KiB to 1 MiB are equally quick; smaller ones pay for their calls, larger ones leave the cache.
CHUNK_CHARS = 1 << 18
CHUNK_INTS = CHUNK_CHARS // GROUP_CHARS * GROUP_INTS
# The longest JSON escape of one base64 character: \u002f.
MAX_ESCAPE_CHARS = 6
FIRST_NEGATIVE = 1 << 31

# msgspec reads base64 out of JSON strings, strictly and in half the time of binascii: on 67 MB,
# narrowing included, 66 ms against 147 ms.
_BASE64 = msgspec.json.Decoder(bytes)
_STRING = msgspec.json.Decoder(str)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedR3:
    """The rows of one answer, narrow, not yet kept anywhere.

    Args:
        start: position of the token that the first row belongs to.
        values: uint8, uint16 or int32, shape [rows, width], C order.
        ignored_start: the worker sent rows from 0 on though others were asked for.
    """

    start: int
    values: NDArray[np.integer]
    ignored_start: bool

    @property
    def rows(self) -> int:
        """How many rows."""
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        """layers * top_k; 0 where there are no rows and the model is not known."""
        return int(self.values.shape[1])

    @property
    def dtype(self) -> Dtype:
        """The narrowest one that holds all values."""
        return next(name for name in DTYPES if np.dtype(name) == self.values.dtype)

    @property
    def data(self) -> memoryview:
        """The bytes of `values`, to be saved; shares memory."""
        return self.values.reshape(-1).view(np.uint8).data

    def block(self, payload: Payload) -> R3Block:
        """A block whose bytes, those of `data`, are kept by `payload`."""
        return R3Block(self.start, self.rows, self.width, self.dtype, payload)


def decode_block(
    encoded: memoryview | bytes,
    *,
    prompt_tokens: int,
    completion_tokens: int,
    asked_start: int,
    shape: ExpertShape,
) -> DecodedR3:
    """The rows [asked_start, prompt_tokens + completion_tokens - 1) of an answer.

    The last token was never fed to the model, so it has no row; workers clamp a start behind that.
    Rows from 0 on, where others were asked for, are cut to those; the others are not looked at.
    70 ms for 67 MB of text: run it in a thread. Learns the width of the model's rows.

    Args:
        encoded: the JSON string's bytes without its quotes; escapes (`\\/`) are resolved.
        prompt_tokens: as the worker counted them.
        completion_tokens: as the worker counted them.
        asked_start: `routed_experts_start_len` as sent; 0 where it was not.
        shape: what is known of the model.

    Raises:
        InvalidR3: with the reason; nothing was learnt then.

    Source: sglang 0.5.23, srt/state_capturer/routed_experts.py and
        srt/managers/detokenizer_manager.py (_b64_encode_per_request).
    """
    if min(prompt_tokens, completion_tokens, asked_start) < 0:
        raise InvalidR3("bad_counts", f"{prompt_tokens=} {completion_tokens=} {asked_start=}")
    text = _without_escapes(memoryview(encoded))
    ints = _count_ints(text)
    all_rows = max(prompt_tokens + completion_tokens - 1, 0)
    start = min(asked_start, all_rows)
    width, ignored_start = _read_layout(ints, all_rows - start, all_rows, shape.width)
    skipped = start * width if ignored_start else 0
    values = _decode_ints(text, skipped, ints - skipped)
    if values.size:  # from what was read: the rest may be anything
        shape.learn(width)
    rows = len(values) // width if width else 0
    return DecodedR3(start, values.reshape(rows, width), ignored_start)


def _read_layout(ints: int, rows: int, all_rows: int, known: int | None) -> tuple[int, bool]:
    """(width, whether the rows begin at 0 though `rows` of `all_rows` were asked for)."""
    if ints == 0:
        if rows:
            raise InvalidR3("bad_length", f"no rows, {rows} expected")
        return known or 0, False
    readings = {rows: False} if rows == all_rows else {rows: False, all_rows: True}
    fitting = [
        (ints // count, from_zero)
        for count, from_zero in readings.items()
        if count and ints % count == 0
    ]
    if not fitting:
        raise InvalidR3("bad_length", f"{ints} numbers are neither {rows} nor {all_rows} rows")
    if known is not None:
        widths = " or ".join(str(width) for width, _ in fitting)
        fitting = [reading for reading in fitting if reading[0] == known]
        if not fitting:
            raise InvalidR3("width_changed", f"{ints} numbers are rows of {widths}, not of {known}")
    if len(fitting) > 1:
        raise InvalidR3("ambiguous", f"{ints} numbers may be {rows} or {all_rows} rows")
    return fitting[0]


def _count_ints(text: memoryview) -> int:
    """How many int32 the base64 `text` holds, by its length and padding."""
    if len(text) % 4:
        raise InvalidR3("bad_base64", f"{len(text)} characters of base64")
    ending = bytes(text[-2:])
    size_bytes = len(text) // 4 * 3 - (len(ending) - len(ending.rstrip(b"=")))
    if size_bytes % INT_BYTES:
        raise InvalidR3("bad_length", f"{size_bytes} bytes are not int32")
    return size_bytes // INT_BYTES


def _decode_ints(text: memoryview, skipped: int, count: int) -> NDArray[np.integer]:
    """Numbers [skipped, skipped + count), the last ones of `text`, in the narrowest dtype."""
    narrow: NDArray[np.integer] = np.empty(count, np.dtype(DTYPES[0]))
    done = 0
    surplus = skipped % GROUP_INTS
    for at in range(skipped // GROUP_INTS * GROUP_CHARS, len(text), CHUNK_CHARS):
        ints = _decode_chunk(text[at : at + CHUNK_CHARS])[surplus:]
        surplus = 0
        if not ints.size:
            continue
        narrow = _wide_enough(narrow, done, int(ints.max()))
        narrow[done : done + ints.size] = ints
        done += ints.size
    return narrow


def _decode_chunk(chunk: memoryview) -> NDArray[np.uint32]:
    """The int32 of a chunk, as uint32: a negative one is too large."""
    try:
        raw = _BASE64.decode(b"".join((b'"', chunk, b'"')))
    except msgspec.DecodeError as error:
        raise InvalidR3("bad_base64", f"routed experts: {error}") from error
    # Padding ahead of the end of the text takes one or two bytes off a chunk.
    if len(raw) % INT_BYTES:
        raise InvalidR3("bad_base64", "padding inside of base64")
    return np.frombuffer(raw, dtype="<u4")


def _wide_enough(narrow: NDArray[np.integer], done: int, highest: int) -> NDArray[np.integer]:
    """`narrow`, or its first `done` numbers in a wider array where `highest` does not fit."""
    if highest >= FIRST_NEGATIVE:
        raise InvalidR3("negative_expert", f"expert {highest - 2 * FIRST_NEGATIVE}")
    if highest <= np.iinfo(narrow.dtype).max:
        return narrow
    fitting = next(name for name in DTYPES if highest <= np.iinfo(name).max)
    wider: NDArray[np.integer] = np.empty(narrow.size, np.dtype(fitting))
    wider[:done] = narrow[:done]
    return wider


def _without_escapes(raw: memoryview) -> memoryview:
    """`raw` itself, as workers write it, or a copy where a JSON writer escaped something."""
    for at in range(0, len(raw), CHUNK_CHARS):
        if b"\\" in bytes(raw[at : at + CHUNK_CHARS]):
            return _resolve_escapes(raw)
    return raw


def _resolve_escapes(raw: memoryview) -> memoryview:
    """What the JSON string says; characters that base64 does not have become `?`."""
    plain = bytearray(len(raw))
    used = at = 0
    while at < len(raw):
        end = min(at + CHUNK_CHARS, len(raw))
        if end < len(raw):  # leave an escape whole
            tail_at = end - MAX_ESCAPE_CHARS + 1
            escape = bytes(raw[tail_at:end]).rfind(b"\\")
            end = end if escape < 0 else tail_at + escape
        try:
            part = _STRING.decode(b"".join((b'"', raw[at:end], b'"'))).encode("ascii", "replace")
        except msgspec.DecodeError as error:
            raise InvalidR3("bad_base64", f"routed experts: {error}") from error
        plain[used : used + len(part)] = part
        used += len(part)
        at = end
    return memoryview(plain)[:used]


def encode_chunks(values: NDArray[np.integer]) -> Iterator[bytes]:
    """Base64 of `values` as little-endian int32 in C order, in parts of at most 256 KiB.

    Joined, they are what a worker would send; none needs an escape in JSON.
    """
    flat = values.reshape(-1)
    for at in range(0, flat.size, CHUNK_INTS):
        ints = flat[at : at + CHUNK_INTS].astype("<i4")
        yield binascii.b2a_base64(ints.tobytes(), newline=False)


def encode_int32(values: NDArray[np.integer]) -> str:
    """Base64 of `values` as little-endian int32 in C order, as a worker would send it.

    0.2 s for 67 MB of text, and twice its memory: run it in a thread.
    """
    return b"".join(encode_chunks(values)).decode("ascii")
