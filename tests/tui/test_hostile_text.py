"""What others wrote, and what is typed, is text: no markup, no control of the terminal."""

from __future__ import annotations

import msgspec
import pytest

from miles_router.tui.glyphs import UNICODE
from tests.tui import pool_pictures as pictures
from tests.tui.asyncio_tests import tui_test
from tests.tui.driving import driven
from tests.tui.fake_source import FakeSource

TEXTS = {
    "closing": "[/",
    "styled": "[red]x[/]",
    "link": "[@click=app.quit]x[/]",
    "bidi": "a\u202eb",
    "control": "a\x1b[2Jb\x07",
}
each = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


@each
@tui_test
async def test_in_every_filter(text: str) -> None:
    async with driven() as one:
        for view in ("1", "2", "4", "5"):
            await one.press(view)
            one.app.main.view.set_filter(text)
            await one.tick()
            assert f"filter {UNICODE.safe(text)}" in one.text
        await one.press("1")
        one.app.main.view.set_filter("")
        typed = [character for character in text[:3] if character.isprintable()]
        await one.press("slash", *typed)
        await one.tick()
        assert f"filter {''.join(typed)}" in one.text


def hostile_source(text: str) -> FakeSource:
    """Where all that somebody else can write says `text`."""
    shown = pictures.picture(2)
    cache = shown.token_cache
    assert cache is not None
    worker = msgspec.structs.replace(
        shown.workers[0],
        url=f"http://{text}",
        status=text,
        reason=text,
        model_path=text,
        labels={text: text},
        worker_type=text,
    )
    request = msgspec.structs.replace(
        shown.requests[0], rids=(text,), tenant=text, path=text, state=text
    )
    space = next(iter(cache.namespaces.values()))
    source = FakeSource(
        msgspec.structs.replace(
            shown,
            workers=(worker, *shown.workers[1:]),
            requests=(request,),
            policy=text,
            newest_weight_version=text,
            token_cache=msgspec.structs.replace(
                cache, tokenizer=text, namespaces={text: space}, refused={text: 1}
            ),
        )
    )
    source.kept_events = [
        msgspec.structs.replace(one, message=text, kind=text) for one in source.kept_events
    ]
    source.kept_log = [msgspec.structs.replace(one, text=text) for one in source.kept_log]
    source.controls.refuses = text
    return source


@each
@tui_test
async def test_on_every_screen(text: str) -> None:
    safe = UNICODE.safe(text)
    async with driven(hostile_source(text)) as one:
        for keys in (["1"], ["2"], ["3"], ["4"], ["5"], ["1", "enter"]):
            await one.press(*keys)
            await one.tick()
            assert safe in one.text, keys
        await one.press("escape", "2", "k")
        assert f"Abort {safe}?" in one.text
        await one.press("escape", "3", "C")
        assert f"Clear the token cache of {safe}?" in one.text
        await one.press("escape", "1", "z")
        assert f"Quarantine {safe}?" in one.text
        await one.press("y")
        assert safe in one.toasts[-1]
        for front in ("ctrl+p", "question_mark"):  # reasons name the worker
            await one.press(front)
            await one.pilot.pause()
            await one.press("escape")
