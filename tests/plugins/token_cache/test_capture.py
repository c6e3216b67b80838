"""Answers too large to be held: what has come goes out, the rest follows as it comes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from miles_router.plugins.token_cache import capture
from tests.plugins.token_cache.rig import EOS_ID, Stage, answer, drifting, ids_of, shown

PARTS, _WHOLE = drifting()
PROMPT = "A question:"
PROMPT_IDS = ids_of(PROMPT)
OUTPUT = [*PARTS, EOS_ID]
# With log-probabilities asked for by the client itself, no byte of an answer changes.
BODY = {"text": PROMPT, "return_logprob": True}
LIMIT_BYTES = 2_000
EVENT_BYTES = 400  # of one that says little


@pytest.fixture(autouse=True)
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MAX_ANSWER_BYTES", LIMIT_BYTES)


class Watched(Stage):
    """Keeps the pieces that the client gets."""

    def __init__(self, body: bytes, *, is_stream: bool, piece_bytes: int) -> None:
        super().__init__(lambda _request: body)
        self.pieces: list[bytes] = []
        self.worker.piece_bytes = piece_bytes
        if is_stream:
            self.worker.answer_headers = ((b"content-type", b"text/event-stream"),)
        self._whole = self.client._app
        self.client._app = self._watching

    async def _watching(self, scope: Any, receive: Any, send: Any) -> None:
        async def watch(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                self.pieces.append(message["body"])
            await send(message)

        await self._whole(scope, receive, watch)


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def said(output: list[int], **more: Any) -> dict[str, Any]:
    """What a worker says of `output`."""
    request = {"rid": "r", "return_logprob": True, "input_ids": PROMPT_IDS}
    return answer(request, output, **more)


def unfinished(size: int) -> bytes:
    chunk = said(OUTPUT[:size])
    chunk["meta_info"]["finish_reason"] = None
    return event(chunk)


ENDLESS = b"data: " + b"x" * 5 * LIMIT_BYTES
PIECES = pytest.mark.parametrize("piece_bytes", [60, 1_000, 1_000_000])


GOES_ON = b"\n\n" + event(said(OUTPUT)) + b"data: [DONE]\n\nrest"


@pytest.mark.parametrize(
    ("tail", "piece_bytes"), [(b"", 60), (b"", 1_000_000), (GOES_ON, 60), (GOES_ON, 1_000)]
)
async def test_an_event_that_does_not_end_is_not_held(tail: bytes, piece_bytes: int) -> None:
    body = unfinished(1) + ENDLESS + tail
    stage = Watched(body, is_stream=True, piece_bytes=piece_bytes)
    got = await stage.generate({**BODY, "stream": True})
    assert got.body == body
    assert (stage.stored, stage.refused) == (0, {"answer_too_large": 1})
    # What came once the limit was reached went on in the pieces in which it came.
    if piece_bytes < LIMIT_BYTES:
        as_sent = [piece for piece in stage.pieces if len(piece) == piece_bytes]
        assert sum(map(len, as_sent)) > len(ENDLESS) - 2 * LIMIT_BYTES


@PIECES
async def test_a_stream_of_which_too_much_has_to_be_held_is_let_through(piece_bytes: int) -> None:
    deltas = []
    for size in range(1, 3 * LIMIT_BYTES // EVENT_BYTES):
        chunk = said([PARTS[0]] * size, text="t" * EVENT_BYTES)
        chunk["output_ids"] = chunk["output_ids"][-1:]
        chunk["meta_info"] |= {"finish_reason": None, "output_token_logprobs": None}
        deltas.append(event(chunk))
    body = b"".join(deltas) + event(said(OUTPUT)) + b"data: [DONE]\n\n"
    stage = Watched(body, is_stream=True, piece_bytes=piece_bytes)
    got = await stage.generate({**BODY, "stream": True})
    assert got.body == body
    assert (stage.stored, stage.refused) == (0, {"answer_too_large": 1})


@PIECES
async def test_a_long_stream_of_which_little_has_to_be_held_is_kept(piece_bytes: int) -> None:
    body = b"".join(unfinished(1) for _ in range(20)) + event(said(OUTPUT)) + b"data: [DONE]\n\n"
    assert len(body) > 3 * LIMIT_BYTES
    stage = Watched(body, is_stream=True, piece_bytes=piece_bytes)
    got = await stage.generate({**BODY, "stream": True})
    assert (got.body, stage.stored, stage.refused) == (body, 1, {})


@PIECES
async def test_what_is_kept_before_the_limit_is_kept_once(piece_bytes: int) -> None:
    body = event(said(OUTPUT)) + ENDLESS
    stage = Watched(body, is_stream=True, piece_bytes=piece_bytes)
    got = await stage.generate({**BODY, "stream": True})
    assert (got.body, stage.stored, stage.refused) == (body, 1, {})
    assert stage.read(PROMPT + shown(PARTS)).tokens.tolist() == PROMPT_IDS + OUTPUT


@PIECES
async def test_an_answer_that_is_too_large_is_let_through(piece_bytes: int) -> None:
    body = json.dumps(said(OUTPUT, padding="x" * LIMIT_BYTES)).encode()
    stage = Watched(body, is_stream=False, piece_bytes=piece_bytes)
    got = await stage.generate(BODY)
    assert got.body == body
    assert (stage.stored, stage.refused) == (0, {"answer_too_large": 1})
