"""Screens of a router that told little or nothing: they say so and invent nothing."""

from __future__ import annotations

import msgspec
import pytest

from miles_router.tui import answers
from miles_router.tui.source import Link, LinkState
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
            assert "not shown without the admin token" in one.text, view
        await one.press("6")
        await one.tick(0)
        assert "the rest      needs the admin token" in one.text
        assert "sessions" not in one.text


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
