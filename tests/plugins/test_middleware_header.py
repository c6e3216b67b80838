"""The example that users copy, loaded as its docstring says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.web.rig import LONG, SHORT, SLOW, open_router, open_sims

EXAMPLES = Path(__file__).parents[2] / "examples"
MIDDLEWARE = "middleware_header:TimingHeader"


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def test_the_docstring_names_the_flag_used_here() -> None:
    text = (EXAMPLES / "middleware_header.py").read_text(encoding="utf-8")
    assert f"PYTHONPATH=examples miles-router serve --middleware {MIDDLEWARE}" in text


@pytest.mark.loopback
async def test_answers_carry_the_headers() -> None:
    async with open_sims(1) as [sim], open_router(middleware=(MIDDLEWARE,)) as rig:
        rig.join(sim.url)
        rig.add("http://127.0.0.1:1")
        for answer in (
            await rig.client.post("/generate", SHORT),
            await rig.client.get("/list_workers"),
            await rig.client.get("/workers/nobody"),
        ):
            assert answer.is_complete
            assert float(str(answer.header("x-time-to-answer-ms"))) >= 0
            assert answer.header("x-healthy-workers") == "1"


@pytest.mark.loopback
async def test_a_stream_passes_piece_by_piece() -> None:
    async with open_sims(1, SLOW) as [sim], open_router(middleware=(MIDDLEWARE,)) as rig:
        rig.join(sim.url)
        async with rig.client.opened("POST", "/generate", {**LONG, "stream": True}) as call:
            assert (await call.chunk()).startswith(b"data: ")
            assert call.answer.header("x-healthy-workers") == "1"
            assert not call.is_over.is_set()
