"""Screens of a router that told little or nothing: they say so and invent nothing."""

from __future__ import annotations

import msgspec
import pytest

from miles_router.tui import answers
from miles_router.tui.panels import tiles
from miles_router.tui.source import Link, LinkState
from miles_router.tui.widgets.plot import Plot
from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import driven
from tests.tui.fake_source import NOW, FakeSource

WHY = (
    "no router answers at http://127.0.0.1:30000 ([Errno -3] Temporary failure in name resolution)"
)


@pytest.mark.parametrize("state", [LinkState.WAITING, LinkState.LOST])
@tui_test
async def test_what_never_connected_says_why_and_offers_nothing(state: LinkState) -> None:
    source = FakeSource(None, link=Link(state, NOW, WHY, NOW + 3), is_local=False)
    async with driven(source, size=(80, 24)) as one:
        await one.tick(0)
        words = " ".join(one.text.replace("│", " ").split())
        assert words.count(WHY) == 2  # in the banner and in the middle
        assert f"waiting for {pictures.URL}" in words
        for wrong in ("No workers yet", "miles-router add", "OLD", "numbers are old"):
            assert wrong not in words


@tui_test
async def test_without_the_admins_token_nothing_is_invented() -> None:
    workers = pictures.picture(3).workers
    body = msgspec.json.encode({"workers": workers})
    source = FakeSource(
        answers.read_workers(pictures.URL, 200, body), refusal=answers.NEEDS_TOKEN, is_local=False
    )
    source.kept_events, source.kept_log = (), ()
    async with driven(source) as one:
        assert "no admin token: read-only" in one.text
        assert "  up 0s" not in one.text
        for view in "12345":
            await one.press(view)
            await one.tick(0)
            assert "needs the admin token: --admin-token-file" in one.text, view
            for bare in ("AGE", "TENANT", "tenants 0", "requests 0"):
                assert bare not in one.text
        await one.press("1", "enter")
        await one.tick(0)
        assert one.text.count("needs the admin token: --admin-token-file") == 2
        assert "RID" not in one.text
        await one.press("escape")
        await one.press("6")
        await one.tick(0)
        assert "the rest      needs the admin token" in one.text
        assert "sessions" not in one.text


@tui_test
async def test_what_nobody_told_is_no_zero() -> None:
    body = msgspec.json.encode({"workers": pictures.picture(3).workers})
    source = FakeSource(answers.read_workers(pictures.URL, 200, body), is_local=False)
    async with driven(source, size=(200, 50)) as one:
        for _ in range(5):
            await one.tick(1)
        assert source.snapshot is not None
        queue = next(
            tile for tile in tiles(source.snapshot, one.app.history) if tile.id == "queued"
        )
        assert queue.value == "-"
        for name, is_known in (("#plot-queued", False), ("#plot-inflight", True)):
            top = one.app.screen.query_one(name, Plot).lines[0]
            assert ("".join(cell.text for cell in top).strip() != "-┤") is is_known


@pytest.mark.parametrize(
    ("view", "told"),
    [
        ("2", "no request is running"),
        ("3", "nothing is stored yet"),
        ("4", "nothing has happened yet"),
        ("5", "nothing has been logged yet"),
    ],
)
@tui_test
async def test_what_is_empty_says_so_without_bare_titles(view: str, told: str) -> None:
    shown = pictures.picture(2)
    assert shown.token_cache is not None
    cache = msgspec.structs.replace(shown.token_cache, namespaces={})
    source = FakeSource(msgspec.structs.replace(shown, requests=(), token_cache=cache))
    source.kept_events, source.kept_log = (), ()
    async with driven(source) as one:
        await one.press(view)
        await one.tick(0)
        assert told in one.text
        assert "TRAJ" not in one.text
        assert "RID" not in one.text


@tui_test
async def test_a_filter_that_nothing_matches_says_so() -> None:
    async with driven() as one:
        for view in "1245":
            await one.press(view, "slash", *"zzz", "enter")
            await one.tick(0)
            assert "nothing matches the filter" in one.text


@tui_test
async def test_an_empty_pool_on_a_small_screen_shows_the_command() -> None:
    async with driven(FakeSource(pictures.picture(0)), size=(60, 15)) as one:
        await one.tick(0)
        assert "miles-router add http://HOST:PORT" in one.text
        assert f"--url {pictures.URL}" in one.text
        one.source.snapshot = pictures.picture(2)
        await one.tick()
        await one.tick(0)
        assert "events" in one.text.splitlines()[-6]
