"""Routed experts: asked for by rows, taken out of the answer, whole for the trajectory."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from miles_router.net.r3_files import FilePayload, R3Files
from miles_router.web.readings import read_experts
from tests.plugins.token_cache.rig import Stage, answer, drifting, ids_of, shown

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PARTS, _WHOLE = drifting()
WORD = shown(PARTS)
PROMPT = "A question:"
WIDTH = 6


def rows_of(tokens: list[int]) -> NDArray[np.int32]:
    """One row for each token but the last, as a deterministic model would route them."""
    fed = np.array(tokens[:-1], dtype=np.int64)[:, None]
    return ((fed * 7 + np.arange(len(fed))[:, None] + np.arange(WIDTH)) % 60).astype("<i4")


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def encoded(rows: NDArray[np.int32]) -> str:
    return base64.b64encode(rows.tobytes()).decode()


def honest(request: dict[str, Any]) -> dict[str, Any]:
    start = request.get("routed_experts_start_len", 0)
    rows = rows_of(request["input_ids"] + PARTS)[start:]
    return answer(request, PARTS, routed_experts=encoded(rows))


def from_zero(request: dict[str, Any]) -> dict[str, Any]:
    rows = rows_of(request["input_ids"] + PARTS)
    return answer(request, PARTS, routed_experts=encoded(rows))


async def dialogue(stage: Stage, turns: int) -> str:
    text = PROMPT
    for turn in range(turns):
        got = await stage.generate({"text": text})
        assert "routed_experts" not in got.json()["meta_info"]
        text += got.json()["text"] + ("" if turn == turns - 1 else f"\nTool: {turn}\n")
    return text


@pytest.mark.parametrize("worker", [honest, from_zero])
async def test_a_dialogue_has_all_its_rows_and_asks_for_each_once(worker: Any) -> None:
    stage = Stage(worker, captures_r3=True)
    text = await dialogue(stage, 4)
    reading = stage.read(text)
    rows, missing = read_experts(reading)
    assert missing is None
    assert rows is not None
    assert rows.dtype == np.uint8
    assert rows.tolist() == rows_of(reading.tokens.tolist()).tolist()
    starts = [one["routed_experts_start_len"] for one in stage.worker.seen]
    ends = [len(one["input_ids"]) + len(PARTS) for one in stage.worker.seen]
    assert starts == [0, *(end - 1 for end in ends[:-1])]


async def test_a_client_that_asks_itself_gets_what_it_asked_for() -> None:
    stage = Stage(honest, captures_r3=True, shape=(2, 3))
    body = {"text": PROMPT, "return_routed_experts": True, "routed_experts_start_len": 2}
    got = await stage.generate(body)
    sent = ids_of(PROMPT) + PARTS
    assert got.json()["meta_info"]["routed_experts"] == encoded(rows_of(sent)[2:])
    assert stage.worker.last["routed_experts_start_len"] == 2
    rows, missing = read_experts(stage.read(PROMPT + WORD))
    assert (rows, missing) == (None, "incomplete")


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        ("not base64!", "bad_base64"),
        ("AAAA", "bad_length"),
        (None, "not_sent"),
        (encoded(np.zeros((3, WIDTH), "<i4")), "width_changed"),
    ],
)
async def test_rows_that_do_not_fit_are_never_returned(blob: str | None, reason: str) -> None:
    replies = [blob, "honest"]

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        blob = replies.pop(0)
        if blob == "honest":
            return honest(request)
        return answer(request, PARTS, routed_experts=blob)

    stage = Stage(reply, captures_r3=True, shape=(2, 3))
    await stage.generate({"text": PROMPT})
    assert stage.stored == 1
    assert read_experts(stage.read(PROMPT + WORD)) == (None, reason)
    assert stage.cache.counters.r3 == {reason: 1}
    # The next turn asks for what is missing, and so for all.
    await stage.generate({"text": PROMPT + WORD + " x"})
    assert stage.worker.last["routed_experts_start_len"] == 0
    rows, _ = read_experts(stage.read(PROMPT + WORD + " x" + WORD))
    assert rows is not None


async def test_blocks_live_in_files_and_go_with_their_turns(tmp_path: Path) -> None:
    stage = Stage(honest, captures_r3=True, r3_files=R3Files(tmp_path))
    text = await dialogue(stage, 2)
    reading = stage.read(text)
    payloads = [turn.r3.payload for turn in reading.turns if turn.r3 is not None]
    assert [isinstance(payload, FilePayload) for payload in payloads] == [True, True]
    assert len(names_in(tmp_path)) == 2
    rows, _ = read_experts(reading)
    assert rows is not None
    trajectory = reading.turns[-1].trajectory
    assert trajectory is not None
    stage.cache.store.evict(trajectory, "deleted")
    await stage.cache.sweep()
    assert names_in(tmp_path) == []
    assert read_experts(reading) == (None, "deleted")


async def test_a_disk_that_takes_nothing_costs_the_rows_alone(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.touch()  # a file where a directory should be
    stage = Stage(honest, captures_r3=True, r3_files=R3Files(directory))
    await stage.generate({"text": PROMPT})
    assert stage.read(PROMPT + WORD).is_exact
    assert read_experts(stage.read(PROMPT + WORD)) == (None, "not_written")


async def test_nothing_is_asked_for_without_the_setting() -> None:
    stage = Stage(lambda request: answer(request, PARTS))
    await stage.generate({"text": PROMPT})
    assert "return_routed_experts" not in stage.worker.last
    assert read_experts(stage.read(PROMPT + WORD)) == (None, "not_asked")
