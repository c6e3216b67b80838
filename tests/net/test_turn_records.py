"""Between turns and the journal's records of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec.structs import replace

from miles_router.core.r3 import DecodedR3
from miles_router.core.trajectory.record import TurnRecord, frame, read_turn
from miles_router.core.trajectory.store import StoreLimits, TrajectoryStore
from miles_router.net.r3_files import R3Files
from miles_router.net.turn_records import record_of, restore
from tests.core.r3.rows import in_memory
from tests.net.test_token_cache import new_turn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

import numpy as np

ROWS = DecodedR3(1, np.arange(6, dtype=np.uint16).reshape(3, 2) + 300, ignored_start=False)


def store() -> TrajectoryStore:
    return TrajectoryStore(StoreLimits(1 << 30, 1 << 30, None, 8))


def recorded(**more: Any) -> tuple[TurnRecord, Any]:
    new = new_turn("abc", "de", rid="r", **more)
    turn = store().add("t", new, 5.0)
    assert turn.trajectory is not None
    return read_turn(frame(record_of(turn, new, turn.trajectory.id, 1_005.0))), turn


def restored(
    records: list[TurnRecord], files: R3Files | None = None, *, orphans: Sequence[int] = ()
) -> tuple[Any, list[int]]:
    target = store()
    lost = restore(target, records, orphans=orphans, unix_offset_s=1_000.0, r3_files=files)
    return target, lost


def test_a_turn_comes_back_as_it_was() -> None:
    record, turn = recorded()
    target, lost = restored([record])
    found = target.namespaces["t"].by_rid["r"][-1]
    assert lost == []
    for name in ("number", "session", "prompt_end", "end", "logprobs", "versions", "finish",
                 "is_text_prompt", "partial", "text_digest"):  # fmt: skip
        assert getattr(found, name) == getattr(turn, name)
    assert (found.trajectory.id, found.trajectory.used_at) == (turn.trajectory.id, 5.0)


def test_rows_come_back_from_the_record_or_their_file(tmp_path: Path) -> None:
    files = R3Files(tmp_path)
    for block in (in_memory(ROWS), ROWS.block(files.save(ROWS.data))):
        record, _turn = recorded(r3=block, r3_missing="")
        target, _lost = restored([record], files)
        found = target.namespaces["t"].by_rid["r"][-1].r3
        assert (found.start, found.rows, found.width, found.dtype) == (1, 3, 2, "<u2")
        assert found.payload.load() == bytes(ROWS.data)


@pytest.mark.parametrize("how", ["deleted", "shortened", "no directory"])
def test_rows_whose_file_is_not_what_it_was_are_missing(tmp_path: Path, how: str) -> None:
    files = R3Files(tmp_path)
    payload = files.save(ROWS.data)
    record, _turn = recorded(r3=ROWS.block(payload), r3_missing="")
    if how == "deleted":
        payload.path.unlink()
    elif how == "shortened":
        payload.path.write_bytes(b"x")
    target, _lost = restored([record], None if how == "no directory" else files)
    found = target.namespaces["t"].by_rid["r"][-1]
    assert (found.r3, found.r3_missing) == (None, "evicted")


def test_turns_whose_parent_is_missing_are_left_out() -> None:
    first = new_turn("abc", "de")
    source = store()
    parent = source.add("t", first, 0.0)
    child_new = new_turn("f", "g", parent)
    child = source.add("t", child_new, 0.0)
    records = [record_of(one, new, "id", 0.0) for one, new in ((parent, first), (child, child_new))]
    assert restored(records)[1] == []
    assert restored(records[1:])[1] == [2]
    foreign = msgspec.structs.replace(records[0], namespace="other")
    assert restored([foreign, records[1]])[1] == [2]
    too_long = msgspec.structs.replace(records[1], inherited=99)
    target, lost = restored([records[0], too_long])
    assert (lost, target.turns) == ([2], 1)


def trajectories(target: Any) -> dict[str, int]:
    """The trajectories of a store, and the number of the last turn of each."""
    return {name: one.tip.number for name, one in target.namespaces["t"].trajectories.items()}


def test_no_trajectory_ends_with_an_orphan() -> None:
    first = new_turn("abc", "de")
    source = store()
    turn = source.add("t", first, 0.0)
    later = source.add("t", second := new_turn("f", "g", turn), 0.0)
    fork = source.add("t", third := new_turn("h", "i", later), 0.0)
    told = [(turn, first, "A"), (later, second, "A"), (fork, third, "B")]
    records = [record_of(one, new, name, 0.0) for one, new, name in told]
    for orphans, expected in (
        ([], {"A": 2, "B": 3}),
        ([2], {"B": 3}),  # also the turn before it is the last one of nothing
        ([1], {"A": 2, "B": 3}),  # it never was the last one of what is there
        ([2, 3], {}),
        ([9], {"A": 2, "B": 3}),
    ):
        target, lost = restored(records, orphans=orphans)
        assert (trajectories(target), lost) == (expected, [])
        assert target.turns == (3 if expected else 0)
        assert set(target.take_removed()) == (set() if expected else {1, 2, 3})
    target, _lost = restored(records[:2], orphans=[2])
    assert (target.turns, target.trajectories, target.size_bytes) == (0, 0, 0)
    target, _lost = restored([records[0], records[2]], orphans=[1])
    assert trajectories(target) == {}  # the fork lacks its own parent


def test_a_parent_that_is_given_up_while_turns_are_read_is_continued() -> None:
    first = new_turn("abc", "de")
    source = store()
    turn = source.add("t", first, 0.0)
    second = new_turn("f", "g", turn)
    records = [record_of(turn, first, "A", 0.0)]
    records.append(record_of(source.add("t", second, 0.0), second, "B", 0.0))
    target = store()

    def given_up() -> Any:
        yield records[0]
        target.evict(target.namespaces["t"].trajectories["A"], "ttl")
        yield records[1]

    assert restore(target, given_up(), orphans=(), unix_offset_s=0.0, r3_files=None) == []
    assert (trajectories(target), target.turns) == ({"B": 2}, 2)


def test_a_turn_with_a_session_comes_back_in_it() -> None:
    new = replace(new_turn("abc", "de"), session="s")
    source = store()
    turn = source.add("t", new, 0.0)
    assert turn.trajectory is not None
    target, _lost = restored([record_of(turn, new, turn.trajectory.id, 0.0)])
    assert list(target.namespaces["t"].of_session["s"]) == [turn.trajectory.id]
