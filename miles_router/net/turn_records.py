"""Between stored turns and what the journal says about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from miles_router.core.r3 import InvalidR3, MemoryPayload, R3Block
from miles_router.core.trajectory.record import R3Record, TurnRecord, UnfitRecord, frame
from miles_router.core.trajectory.turn import NewTurn, SpelledOutput, UnfitTurn
from miles_router.net.journal import JournalFailed
from miles_router.net.r3_files import FilePayload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.core.r3 import Payload
    from miles_router.core.r3.block import Dtype
    from miles_router.core.trajectory.store import TrajectoryStore
    from miles_router.core.trajectory.trajectory import Trajectory
    from miles_router.core.trajectory.turn import Turn
    from miles_router.net.journal import Journal
    from miles_router.net.r3_files import R3Files

_NAMES: dict[Dtype, str] = {"|u1": "uint8", "<u2": "uint16", "<i4": "int32"}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


def record_of(turn: Turn, new: NewTurn, trajectory_id: str, stored_at_unix: float) -> TurnRecord:
    """What the journal says about a turn that was just stored."""
    return TurnRecord(
        number=turn.number,
        namespace=turn.tenant,
        trajectory=trajectory_id,
        session=turn.session,
        rid=turn.rid,
        parent=None if turn.parent is None else turn.parent.number,
        inherited=turn.inherited,
        prompt=new.prompt,
        is_text_prompt=turn.is_text_prompt,
        output=new.output.run,
        visible_tokens=new.output.visible_tokens,
        partial=turn.partial,
        logprobs=turn.logprobs,
        versions=turn.versions,
        finish=turn.finish,
        stored_at_unix=stored_at_unix,
        r3=None if turn.r3 is None else _r3_record(turn.r3),
    )


def append_turn(
    journal: Journal | None,
    turn: Turn,
    new: NewTurn,
    trajectory: Trajectory | None,
    at_unix: float,
) -> Exception | None:
    """Write a turn that was just stored; what went wrong. May run in a thread.

    `trajectory`: that it was stored in, which may be given up while the thread writes.
    """
    if journal is None or not journal.is_on or trajectory is None:
        return None  # a turn larger than the budget is gone already
    record = record_of(turn, new, trajectory.id, at_unix)
    try:
        journal.append(_framed(record), turn.number)
    except (JournalFailed, UnfitRecord) as error:
        return error
    return None


def _framed(record: TurnRecord) -> bytes:
    """A record's frame, if need be without routed experts: children must find their parent."""
    try:
        return frame(record)
    except UnfitRecord:
        return frame(msgspec.structs.replace(record, r3=None))


def _r3_record(block: R3Block) -> R3Record:
    payload = block.payload
    is_file = isinstance(payload, FilePayload)
    return R3Record(
        start=block.start,
        rows=block.rows,
        width=block.width,
        dtype=_NAMES[block.dtype],
        data=None if is_file else payload.load(),
        file=payload.name if isinstance(payload, FilePayload) else None,
    )


def restore(
    store: TrajectoryStore,
    records: Iterable[TurnRecord],
    *,
    orphans: Iterable[int],
    unix_offset_s: float,
    r3_files: R3Files | None,
) -> list[int]:
    """Put the turns of a journal back; returns the numbers of those that lack the turn before them.

    Looks at the files of routed experts: for the time before the loop serves anyone.

    Args:
        store: where to.
        records: in the order of their numbers.
        orphans: numbers of turns whose trajectory was given up. Each is put into it all the same,
            so that no turn before it becomes its last one; at the end those trajectories go.
        unix_offset_s: monotonic time + this = Unix time.
        r3_files: where routed experts are kept; None: in the records.
    """
    known: dict[int, Turn] = {}
    lost: list[int] = []
    for record in records:
        parent = None if record.parent is None else known.get(record.parent)
        if record.parent is not None and not _may_continue(record, parent):
            lost.append(record.number)
            continue
        try:
            known[record.number] = store.add(
                record.namespace,
                _new_turn(record, parent, r3_files),
                record.stored_at_unix - unix_offset_s,
                number=record.number,
                trajectory_id=record.trajectory,
            )
        except UnfitTurn:
            lost.append(record.number)
    for number in orphans:
        if number in known:
            store.orphan(known[number])
    while store.remove_one():  # those that nothing continues
        pass
    return lost


def _may_continue(record: TurnRecord, parent: Turn | None) -> bool:
    if parent is None or parent.tenant != record.namespace:
        return False
    return parent.is_stored and record.inherited <= parent.end


def _new_turn(record: TurnRecord, parent: Turn | None, r3_files: R3Files | None) -> NewTurn:
    block = None if record.r3 is None else _r3_block(record.r3, r3_files)
    return NewTurn(
        session=record.session,
        rid=record.rid,
        parent=parent,
        inherited=record.inherited,
        prompt=record.prompt,
        is_text_prompt=record.is_text_prompt,
        output=SpelledOutput(record.output, record.visible_tokens, record.partial),
        logprobs=record.logprobs,
        versions=record.versions,
        finish=record.finish,
        r3=block,
        r3_missing="not_asked" if record.r3 is None else "evicted",
    )


def _r3_block(record: R3Record, r3_files: R3Files | None) -> R3Block | None:
    """The routed experts of a record; None where their file is gone or not what it was."""
    payload: Payload | None = None
    if record.data is not None:
        payload = MemoryPayload(record.data)
    elif record.file is not None and r3_files is not None:
        payload = r3_files.adopt(record.file)
    dtype = _DTYPES.get(record.dtype)
    if payload is None or dtype is None:
        return None
    try:
        return R3Block(record.start, record.rows, record.width, dtype, payload)
    except InvalidR3:
        return None
