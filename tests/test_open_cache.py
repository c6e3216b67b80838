"""The token cache as its settings want it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio

import miles_router.open_cache
from miles_router.config import RADIX_TREE_MIDDLEWARE, Settings
from miles_router.core.events import EventLog
from miles_router.errors import ConfigFault
from miles_router.open_cache import open_cache
from miles_router.sim.tokenizer import tokenizer_dir
from tests.net.test_token_cache import new_turn, noting
from tests.plugins.token_cache.rig import sim_tokenizer
from tests.web.cached import open_cached_router

if TYPE_CHECKING:
    from pathlib import Path

    from miles_router.net.token_cache import TokenCache


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        miles_router.open_cache, "load_tokenizer", lambda *_args, **_named: sim_tokenizer()
    )


def opened(logged: list[Any], **settings: Any) -> TokenCache:
    log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[noting(logged)])
    chosen = Settings(token_cache=True, tokenizer=str(tokenizer_dir()), **settings)
    return open_cache(chosen, events=EventLog(), log=log, boot_id="0123456789")


async def test_the_settings_arrive() -> None:
    cache = opened(
        [], cache_bytes=1000, cache_ttl_s=5.0, keep_versions=3, routed_experts_bytes=2000,
        capture_routed_experts=True,
    )  # fmt: skip
    limits = cache.store.limits
    assert (limits.budget_bytes, limits.ttl_s, limits.keep_versions) == (1000, 5.0, 3)
    assert (limits.r3_budget_bytes, cache.captures_r3) == (2000, True)
    assert cache.shape.layers_and_top_k == (4, 2)
    assert (cache.journal, cache.r3_files) == (None, None)


async def test_ids_of_trajectories_differ_from_run_to_run() -> None:
    turn = await opened([]).keep("t", new_turn("abc", "de"))
    assert turn.trajectory is not None
    assert turn.trajectory.id.startswith("01234567-")


async def test_a_journal_is_read_and_told_of(tmp_path: Path) -> None:
    first = opened([], journal=tmp_path)
    await first.keep("t", new_turn("abc", "de"))
    first.close()
    logged: list[Any] = []
    second = opened(logged, journal=tmp_path)
    assert second.store.turns == 1
    assert [event["turns"] for event in logged if event["event"] == "token_cache_on"] == [1]
    with pytest.raises(ConfigFault, match="another router"):
        opened([], journal=tmp_path)
    second.close()


async def test_what_is_given_up_while_a_journal_is_read_is_told_to_it(tmp_path: Path) -> None:
    first = opened([], journal=tmp_path)
    turn = await first.keep("t", new_turn("abc", "de"))
    later = await first.keep("t", new_turn("f", "g", turn))
    fork = await first.keep("t", new_turn("h", "i", turn))
    assert later.trajectory is not None
    assert fork.trajectory is not None
    first.close()
    # Room for all but the turn and the trajectory that are unused for longest.
    small = first.store.size_bytes - 1
    for cache_bytes in (small, 1 << 30):
        second = opened([], journal=tmp_path, cache_bytes=cache_bytes)
        assert list(second.store.namespaces["t"].trajectories) == [fork.trajectory.id]
        assert (second.store.turns, len(second.store.namespaces["t"].orphans)) == (2, 1)
        assert second.journal is not None
        assert second.journal.live_bytes < second.journal.size_bytes
        second.close()


async def test_a_torn_last_record_is_a_warning(tmp_path: Path) -> None:
    first = opened([], journal=tmp_path)
    for text in ("abc", "xyz"):
        await first.keep("t", new_turn(text, "de"))
    first.close()
    segment = await trio.to_thread.run_sync(lambda: max(tmp_path.glob("*.log")))
    data = segment.read_bytes()
    segment.write_bytes(data[:-3])
    logged: list[Any] = []
    second = opened(logged, journal=tmp_path)
    assert second.store.turns == 1
    assert any(event["event"] == "journal_damaged" for event in logged)
    second.close()


async def test_files_that_no_turn_names_are_deleted(tmp_path: Path) -> None:
    stranger = tmp_path / ("0" * 32 + ".r3")
    stranger.touch()
    (tmp_path / "notes.txt").touch()
    opened([], capture_routed_experts=True, routed_experts_dir=tmp_path)
    names = await trio.to_thread.run_sync(lambda: [path.name for path in tmp_path.iterdir()])
    assert sorted(names) == ["lock", "notes.txt", "owner"]


async def test_a_directory_of_routed_experts_has_one_router_and_one_journal(
    tmp_path: Path,
) -> None:
    r3_dir = tmp_path / "r3"
    chosen: dict[str, Any] = {"capture_routed_experts": True, "routed_experts_dir": r3_dir}
    first = opened([], journal=tmp_path / "a", **chosen)
    assert first.r3_files is not None
    kept = first.r3_files.save(b"rows")
    with pytest.raises(ConfigFault, match="in use by another router"):
        opened([], journal=tmp_path / "b", **chosen)
    first.close()
    for other in ({"journal": tmp_path / "b"}, {}):
        with pytest.raises(ConfigFault, match="holds routed experts of the journal"):
            opened([], **other, **chosen)
    assert kept.load() == b"rows"
    again = opened([], journal=tmp_path / "a", **chosen)
    again.close()
    # No turn named the file, so its own router has removed it; another one may move in.
    opened([], **chosen).close()


async def test_a_directory_that_cannot_be_had_is_a_start_up_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigFault, match="--routed-experts-dir"):
        opened([], capture_routed_experts=True, routed_experts_dir=file / "x")
    with pytest.raises(ConfigFault, match="--journal"):
        opened([], journal=file / "x")


async def test_the_name_that_miles_has_for_it_switches_it_on() -> None:
    async with open_cached_router(middleware=(RADIX_TREE_MIDDLEWARE,)) as rig:
        assert rig.services.token_cache is not None


async def test_new_weights_in_the_pool_call_for_a_sweep() -> None:
    log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[noting([])])
    events = EventLog()
    chosen = Settings(token_cache=True, tokenizer=str(tokenizer_dir()))
    cache = open_cache(chosen, events=events, log=log, boot_id="0123456789")
    events.add("worker_added", "another matter", 0.0)
    with trio.move_on_after(0.05) as waiting:
        await cache.wait_pressed()
    assert waiting.cancelled_caught
    events.add("weight_version", "weight version '8' arrived", 0.0)
    with trio.fail_after(1):
        await cache.wait_pressed()
