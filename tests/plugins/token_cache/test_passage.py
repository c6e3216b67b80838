"""The token cache in the express does what its middleware does, or nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import miles_router.plugins.token_cache.prepared
from miles_router.core.headers import session_of
from miles_router.core.request import find_rids
from miles_router.net.begun import BEGUN_KEY
from miles_router.plugins.token_cache import passage as passage_module
from miles_router.plugins.token_cache.passage import CachePassage, CachePassing, readable
from tests.plugins.token_cache.rig import EOS_ID, Stage, Worker, answer, drifting, ids_of, shown
from tests.web.asgi_client import AsgiClient

PARTS, WHOLE = drifting()
PROMPT = "A question:"
LONG = " and so on" * 200  # more than is tokenized at once


@dataclass
class Begun:
    """What the middleware sees of `net.begun.Begun`."""

    passage: CachePassage | None


class PassedStage(Stage):
    """Requests pass as in the express; what is for the middleware goes there."""

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self.passing = CachePassing(self.cache, self.told.note_weight_version)
        self.passed = 0  # from end to end
        self.taken_up = 0

    async def ask(self, body: dict[str, Any], headers: dict[str, str]) -> bytes:
        data = json.dumps(body).encode()
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        tenant = headers.get("x-tenant", "default")
        before = state(self)
        passage = self.passing.prepare(tenant, session_of(raw), data)
        assert state(self) == before
        if passage is None:
            return (await self.generate(body, **headers)).body
        assert passage.rids == find_rids(passage.body)
        passage.begin()
        self.worker.bodies.append(passage.body)
        reply = self.worker.reply(json.loads(passage.body))
        sent = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        before = state(self)
        got = passage.answer("w1", sent)
        if got is None:
            assert state(self) == before
            got = await self._take_up(passage, sent, raw)
            self.taken_up += 1
        else:
            passage.end()
            self.passed += 1
        return got

    async def _take_up(
        self, passage: CachePassage, sent: bytes, headers: list[tuple[bytes, bytes]]
    ) -> bytes:
        begun = Worker(lambda _: sent)
        app = self.client._app
        app._app = begun  # type: ignore[attr-defined]  # the worker that has the request already

        async def in_scope(scope: Any, receive: Any, send: Any) -> None:
            assert scope["headers"]
            await app({**scope, BEGUN_KEY: Begun(passage)}, receive, send)

        named = {name.decode(): value.decode() for name, value in headers}
        got = await AsgiClient(in_scope).request("POST", "/generate", passage.body, named)
        app._app = self.worker  # type: ignore[attr-defined]
        return got.body


def state(stage: Stage) -> object:
    """All that a request may change, but for texts and tokens."""
    counters, store = stage.cache.counters, stage.cache.store
    turns = [
        (turn.number, turn.holders)
        for namespace in store.namespaces.values()
        for trajectory in namespace.trajectories.values()
        for turn in [trajectory.tip]
    ]
    return (
        dict(counters.prompts),
        counters.cached_tokens,
        counters.stored,
        dict(counters.refused),
        counters.failures,
        list(stage.told.versions),
        turns,
        store.size_bytes,
    )


@dataclass
class Step:
    """One request, and what the worker makes of it."""

    begins: str = PROMPT
    more: str = ""
    output: list[int] = field(default_factory=lambda: [*PARTS, EOS_ID])
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    reply: bytes | None = None
    continues: bool = False
    as_ids: bool = False


OUTPUTS = st.sampled_from(
    [[*PARTS], [*PARTS, EOS_ID], [*WHOLE, EOS_ID], [EOS_ID], ids_of(" the"), PARTS * 12]
)
STEPS = st.builds(
    Step,
    begins=st.sampled_from([PROMPT, "A quest", "Else:", "", LONG]),
    more=st.sampled_from(["", " more", shown(PARTS), "<|im_end|>\nUser:", LONG]),
    output=OUTPUTS,
    body=st.fixed_dictionaries(
        {},
        optional={
            "rid": st.sampled_from(["mine", "other", "", None, 7]),
            "return_logprob": st.booleans(),
            "stream": st.just(False),
            "x": st.just(["y", {"rid": 1}]),
            "input_embeds": st.sampled_from([None, [[1.0]]]),
            "sampling_params": st.sampled_from(
                [{}, {"n": 2}, {"skip_special_tokens": False}, {"no_stop_trim": True}]
            ),
        },
    ),
    headers=st.fixed_dictionaries(
        {}, optional={"x-miles-session": st.sampled_from("ab"), "x-tenant": st.sampled_from("tu")}
    ),
    changes=st.sampled_from(
        [
            {},
            {},
            {"prompt_tokens": 1},
            {"completion_tokens": 99},
            {"weight_version": "8"},
            {"output_token_logprobs": [[0.5, 1, None]]},
            {"finish_reason": None},
            {"id": 5},
        ]
    ),
    reply=st.sampled_from([None, None, None, b"[]", b'{"error": "x"}', b"{", b'"a"']),
    continues=st.booleans(),
    as_ids=st.booleans(),
)


def made(step: Step, request: dict[str, Any]) -> Any:
    if step.reply is not None:
        return step.reply
    one = answer(request, step.output, **step.changes)
    return [one, one] if (request.get("sampling_params") or {}).get("n") == 2 else one


async def run(stage: Stage, steps: list[Step], *, passes: bool) -> list[Any]:
    """What came of each step: the answer, and what the worker got but for ids made here."""
    said = ""
    seen: list[Any] = []
    for step in steps:
        text = (said if step.continues else step.begins) + step.more
        body = {"text": text, **step.body}
        if step.as_ids:
            body = {"input_ids": [*ids_of(text)], **step.body}
        stage.worker.reply = partial(made, step)
        if passes:
            assert isinstance(stage, PassedStage)
            got = await stage.ask(body, step.headers)
        else:
            got = (await stage.generate(body, **step.headers)).body
        sent = json.loads(stage.worker.bodies[-1])
        rid = sent.pop("rid", None)
        seen.append((got.replace(str(rid).encode(), b"RID"), sent, step.body.get("rid") or None))
        said = text + shown([one for one in step.output if one != EOS_ID])
    return seen


@settings(max_examples=150)
@given(steps=st.lists(STEPS, min_size=1, max_size=6))
async def test_dialogues_pass_as_through_the_middleware(steps: list[Step]) -> None:
    usual, passed = Stage(lambda _: b""), PassedStage(lambda _: b"")
    assert await run(passed, steps, passes=True) == await run(usual, steps, passes=False)
    assert state(passed)[:-2] == state(usual)[:-2]  # type: ignore[index]  # ids differ, and so do sizes
    for tenant, namespace in usual.cache.store.namespaces.items():
        other = passed.cache.store.namespaces[tenant]
        assert len(other.trajectories) == len(namespace.trajectories)
        assert (other.turns, other.tree.tokens) == (namespace.turns, namespace.tree.tokens)
        pairs = zip(other.trajectories.values(), namespace.trajectories.values(), strict=True)
        for one, two in pairs:
            assert (one.tip.logprobs, one.tip.holders) == (two.tip.logprobs, two.tip.holders)
            assert (one.tip.prompt_end, one.tip.end) == (two.tip.prompt_end, two.tip.end)
            assert (one.tip.versions, one.tip.text_digest) == (
                two.tip.versions,
                two.tip.text_digest,
            )


async def test_what_is_known_passes_and_is_continued_by_its_very_ids() -> None:
    stage = PassedStage(lambda request: answer(request, [*PARTS, EOS_ID]))
    await stage.ask({"text": PROMPT}, {})
    text = PROMPT + shown(PARTS) + "<|im_end|>"
    await stage.ask({"text": text}, {})
    assert stage.passed == 2
    assert json.loads(stage.worker.bodies[-1])["input_ids"] == [*ids_of(PROMPT), *PARTS, EOS_ID]
    assert stage.cache.counters.prompts == {"tokenized": 1, "continued": 1}
    assert stage.read(text).tokens.tolist() == [*ids_of(PROMPT), *PARTS, EOS_ID]


async def test_what_is_continued_is_held_until_the_end() -> None:
    stage = PassedStage(lambda request: answer(request, PARTS))
    await stage.ask({"text": PROMPT}, {})
    (trajectory,) = stage.cache.store.namespaces["default"].trajectories.values()
    turn = trajectory.tip
    body = json.dumps({"text": PROMPT + shown(PARTS) + " more"}).encode()
    passage = stage.passing.prepare("default", None, body)
    assert passage is not None
    assert turn.holders == 0
    passage.begin()
    assert turn.holders == 1
    passage.end()
    passage.end()
    assert turn.holders == 0


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"text": "a", "stream": true}',
        b'{"text": ["a", "b"]}',
        b'{"text": "a", "image_data": "x"}',
        b'{"text": 5}',
        b'{"input_ids": [1000000]}',
        json.dumps({"text": LONG}).encode(),
        json.dumps({"input_ids": [5] * 9_000}).encode(),
    ],
)
def test_what_takes_a_wait_or_is_not_for_the_cache_is_left_to_the_middleware(body: bytes) -> None:
    stage = PassedStage(lambda _: b"")
    before = state(stage)
    assert stage.passing.prepare("default", None, body) is None
    assert state(stage) == before


def test_a_cache_that_is_off_or_captures_experts_takes_no_part() -> None:
    body = json.dumps({"text": PROMPT}).encode()
    stage = PassedStage(lambda _: b"")
    assert stage.passing.prepare("default", None, body) is not None
    stage.cache.is_on = False
    assert stage.passing.prepare("default", None, body) is None
    capturing = PassedStage(lambda _: b"", captures_r3=True)
    assert capturing.passing.prepare("default", None, body) is None


async def test_large_answers_and_a_busy_store_are_left_to_the_middleware() -> None:
    stage = PassedStage(lambda request: answer(request, PARTS * 300))
    await stage.ask({"text": PROMPT}, {})
    assert (stage.passed, stage.taken_up, stage.stored) == (0, 1, 1)
    stage.worker.reply = lambda request: answer(request, PARTS)
    stage.cache.store.limits = type(stage.cache.store.limits)(
        stage.cache.store.size_bytes, 1 << 30, None, 8
    )
    await stage.ask({"text": PROMPT}, {})
    assert (stage.passed, stage.taken_up, stage.stored) == (0, 2, 2)


@pytest.mark.parametrize("name", ["read_whole", "new_turn"])
async def test_the_request_goes_through_whatever_the_cache_fails_at(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a mistake in the cache")

    stage = PassedStage(lambda request: answer(request, PARTS))
    monkeypatch.setattr(passage_module, name, fail)
    got = json.loads(await stage.ask({"text": PROMPT, "return_logprob": True}, {}))
    assert got["output_ids"] == PARTS
    assert stage.cache.counters.failures == 1


async def test_a_request_that_the_cache_fails_to_prepare_goes_to_the_middleware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a mistake in the cache")

    stage = PassedStage(lambda request: answer(request, PARTS))
    monkeypatch.setattr(passage_module, "read_request", fail)
    assert stage.passing.prepare("default", None, json.dumps({"text": PROMPT}).encode()) is None
    assert stage.cache.counters.failures == 1


async def test_a_store_that_fails_does_not_cost_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a mistake in the cache")

    stage = PassedStage(lambda request: answer(request, PARTS))
    monkeypatch.setattr(type(stage.cache), "keep_now", fail)
    got = json.loads(await stage.ask({"text": PROMPT}, {}))
    assert got["output_ids"] == PARTS
    assert "output_token_logprobs" not in got["meta_info"]
    assert (stage.stored, stage.cache.counters.failures) == (0, 1)


async def test_a_prompt_of_too_many_tokens_is_written_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(miles_router.plugins.token_cache.prepared, "WRITE_IN_THREAD_TOKENS", 1)
    stage = PassedStage(lambda request: answer(request, PARTS))
    await stage.ask({"text": PROMPT}, {})
    assert (stage.passed, stage.taken_up, stage.stored) == (0, 0, 1)


def test_only_readable_answers_are_asked_for() -> None:
    plain = [(b"accept", b"*/*")]
    assert readable(plain) == plain
    assert readable([(b"accept-encoding", b"gzip"), *plain, (b"accept-encoding", b"br")]) == [
        *plain,
        (b"accept-encoding", b"identity"),
    ]
