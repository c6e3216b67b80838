"""A prompt that begins by chance like another one and the first tokens of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miles_router.core.radix import marks
from miles_router.core.radix.run import TokenRun
from miles_router.core.trajectory.finding import find_ids, find_prompt
from miles_router.core.trajectory.reading import Missing, Reading, read_text
from miles_router.core.trajectory.store import StoreLimits, TrajectoryStore
from miles_router.core.trajectory.turn import NewTurn, SpelledOutput, VersionSpan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from miles_router.core.trajectory.namespace import Namespace

ANSWER = "abcdefghijklmnopqrstuvwxyz\n "


@pytest.fixture(autouse=True)
def real_cuts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(marks, "CUT_TOKENS", 16)
        yield


def letters(text: str) -> TokenRun:
    return TokenRun.of([ord(one) for one in text], [1] * len(text), text.encode())


def stored(*, session: str | None = None, rid: str | None = None) -> Namespace:
    store = TrajectoryStore(StoreLimits(1 << 30, 1 << 30, None, 8))
    run = letters(ANSWER)
    new = NewTurn(
        session=session, rid=rid, parent=None, inherited=0, prompt=letters("Q:"),
        is_text_prompt=True, output=SpelledOutput(run, len(run)), logprobs=b"\0" * 4 * len(run),
        versions=(VersionSpan(None, 0, len(run)),), finish="stop",
    )  # fmt: skip
    store.add("t", new, 0.0)
    return store.namespaces["t"]


@pytest.mark.parametrize("kept", [1, 15])
def test_a_few_tokens_are_chance(kept: int) -> None:
    text = b"Q:" + ANSWER[:kept].encode() + b"!"
    namespace = stored()
    assert find_prompt(namespace, text, None).parent is None
    assert find_ids(namespace, letters(text.decode()).id_array, None).parent is None


@pytest.mark.parametrize("kept", [16, 20, len(ANSWER)])
def test_many_tokens_are_meant(kept: int) -> None:
    text = b"Q:" + ANSWER[:kept].encode() + b"!"
    namespace = stored()
    found = find_prompt(namespace, text, None)
    assert (found.inherited, found.rest) == (2 + kept, b"!")
    assert find_ids(namespace, letters(text.decode()).id_array, None).inherited == 2 + kept


def test_stripped_space_is_meant() -> None:
    store = TrajectoryStore(StoreLimits(1 << 30, 1 << 30, None, 8))
    run = letters("4\n ")
    output = SpelledOutput(run, 3)
    versions = (VersionSpan(None, 0, 3),)
    new = NewTurn(None, None, None, 0, letters("Q:"), True, output, b"\0" * 12, versions, "stop")
    store.add("t", new, 0.0)
    assert find_prompt(store.namespaces["t"], b"Q:4<e>", None).inherited == 3
    assert find_prompt(store.namespaces["t"], b"Q:4\n<e>", None).inherited == 4


def test_who_names_the_session_means_its_answer() -> None:
    namespace = stored(session="s")
    assert find_prompt(namespace, b"Q:a!", "s").inherited == 3
    assert find_prompt(namespace, b"Q:a!", None).parent is None


def test_reading_follows_the_same_rule() -> None:
    namespace = stored(rid="r")
    gone = TrajectoryStore(StoreLimits(1, 1, None, 1)).gone
    by_chance = read_text(namespace, gone, b"Q:a!", session=None, rid=None)
    assert by_chance == Missing(3, None)
    named = read_text(namespace, gone, b"Q:a!", session=None, rid="r")
    assert isinstance(named, Reading)
    assert named.loss_mask.tolist() == [0, 0, 1]
