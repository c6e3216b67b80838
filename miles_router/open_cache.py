"""Makes the token cache from the settings: tokenizer, store, and what a journal remembers.

Takes seconds: a tokenizer is loaded, a journal is read. Before the router serves anyone.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from miles_router.core.counted import counted
from miles_router.core.r3 import ExpertShape
from miles_router.core.trajectory.store import StoreLimits, TrajectoryStore
from miles_router.errors import ConfigFault
from miles_router.net.journal import Journal, JournalFailed
from miles_router.net.r3_files import FilePayload, R3FileError, R3Files
from miles_router.net.token_cache import TokenCache
from miles_router.net.turn_records import restore
from miles_router.plugins.tokenizer import load_tokenizer, read_expert_shape

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from miles_router.config import Settings
    from miles_router.core.events import Event, EventLog

# Deleting a file of this size keeps the loop for 4 ms; of 256 MiB, 14 ms.
SEGMENT_BYTES = 64 * 1024 * 1024


def open_cache(
    settings: Settings, *, events: EventLog, log: FilteringBoundLogger, boot_id: str
) -> TokenCache:
    """The token cache, with the turns of an earlier run if there is a journal.

    Raises:
        ConfigFault: tokenizer, journal or directory cannot be used.
    """
    name = settings.tokenizer
    assert name is not None, "checked with the settings"
    tokenizer = load_tokenizer(name, trust_remote_code=settings.trust_remote_code)
    shape = read_expert_shape(name, trust_remote_code=settings.trust_remote_code)
    limits = StoreLimits(
        budget_bytes=settings.cache_bytes,
        r3_budget_bytes=settings.routed_experts_bytes,
        ttl_s=settings.cache_ttl_s,
        keep_versions=settings.keep_versions,
    )
    cache = TokenCache(
        store=TrajectoryStore(limits, id_prefix=f"{boot_id[:8]}-"),
        tokenizer=tokenizer,
        shape=ExpertShape(shape),
        events=events,
        log=log,
        unix_offset_s=time.time() - trio.current_time(),  # noqa: TID251  journals have Unix time
        captures_r3=settings.capture_routed_experts,
        r3_files=_r3_files(settings.routed_experts_dir, settings.journal),
    )
    if settings.journal is not None:
        _replay(cache, settings.journal)
    _remove_strangers(cache)
    events.subscribe(partial(_press_for_weights, cache))
    log.info("token_cache_on", tokenizer=tokenizer.name, turns=cache.store.turns)
    return cache


def _press_for_weights(cache: TokenCache, event: Event) -> None:
    """The pool has found new weights: what was made by outdated ones is to go."""
    if event.kind == "weight_version":
        cache.press()


def _r3_files(directory: Path | None, journal: Path | None) -> R3Files | None:
    if directory is None:
        return None
    files = R3Files(directory)
    try:
        files.claim("" if journal is None else str(journal.resolve()))
        files.prepare()
    except R3FileError as error:
        raise ConfigFault(f"--routed-experts-dir: {error}", key="routed_experts_dir") from None
    return files


def _replay(cache: TokenCache, directory: Path) -> None:
    def warn(message: str) -> None:
        cache.log.warning("journal_damaged", why=message)

    journal = Journal(
        directory,
        fingerprint=cache.tokenizer.fingerprint,
        segment_bytes=SEGMENT_BYTES,
        warn=warn,
    )
    records = journal.open()
    lost = restore(
        cache.store,
        records,
        orphans=journal.orphans,
        unix_offset_s=cache.unix_offset_s,
        r3_files=cache.r3_files,
    )
    cache.store.continue_after(journal.last_number)
    if lost:
        warn(f"{counted(len(lost), 'turn')} left out: what comes before is not there any more")
    with suppress(JournalFailed):  # tried again with the next removal
        removed = [*lost, *cache.store.take_removed()]
        journal.note_removed(removed, cache.store.take_orphaned())
    cache.journal = journal


def _remove_strangers(cache: TokenCache) -> None:
    """Delete files of routed experts that no turn names."""
    if cache.r3_files is None:
        return
    kept = {
        turn.r3.payload.name
        for turn in cache.store.turns_with_r3()
        if turn.r3 is not None and isinstance(turn.r3.payload, FilePayload)
    }
    try:
        cache.r3_files.remove_strangers(kept)
    except R3FileError as error:
        cache.log.warning("r3_file_stays", why=str(error))
