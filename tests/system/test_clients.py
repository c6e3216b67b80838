"""The clients that people use, against a real router: right answers, and broken ones noticed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from miles_router.sim import SimSettings
from tests.system.rig import ROOT, joined, prompt

if TYPE_CHECKING:
    from miles_router.sim import RunningSim
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

# Each prints one JSON value, or the name of the exception that a broken answer raises.
REQUESTS = """
import json, sys, requests
answer = requests.post(URL + "/generate", json=BODY, timeout=20)
print(json.dumps(answer.json()))
"""
HTTPX = """
import json, httpx
print(json.dumps(httpx.post(URL + "/generate", json=BODY, timeout=20, trust_env=False).json()))
"""
AIOHTTP = """
import asyncio, json, aiohttp
async def main():
    async with aiohttp.ClientSession() as session:
        async with session.post(URL + "/generate", json=BODY) as answer:
            print(json.dumps(await answer.json()))
asyncio.run(main())
"""
OPENAI = """
import json, openai
client = openai.OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0)
messages = [{"role": "user", "content": "hello"}]
options = {"model": "sim/bpe", "messages": messages, "max_tokens": 6, "temperature": 0}
whole = client.chat.completions.create(**options).choices[0].message.content
stream = client.chat.completions.create(stream=True, **options)
pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
print(json.dumps({"whole": whole, "streamed": "".join(pieces)}))
"""
OPENAI_STREAM = """
import openai
client = openai.OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0)
messages = [{"role": "user", "content": "hello"}]
for chunk in client.chat.completions.create(
    model="sim/bpe", messages=messages, max_tokens=50, stream=True
):
    pass
print("complete")
"""
BROKEN = {
    "requests": {"ChunkedEncodingError", "ConnectionError", "IncompleteRead"},
    "httpx": {"RemoteProtocolError", "ReadError"},
    "aiohttp": {"ClientPayloadError", "ServerDisconnectedError", "ClientOSError"},
    "openai": {"RemoteProtocolError", "ReadError", "APIConnectionError", "APIError"},
}


async def run_client(script: str, url: str, body: dict[str, Any]) -> tuple[str, str]:
    """What a client process prints, and the name of the exception it ends with."""
    code = f"URL, BODY = {url!r}, {body!r}\n{script}"
    with trio.fail_after(30):
        done = await trio.run_process(
            [sys.executable, "-c", code],
            cwd=ROOT,
            check=False,
            capture_stdout=True,
            capture_stderr=True,
            stdin=subprocess.DEVNULL,
        )
    last = (done.stderr.decode().strip().splitlines() or [""])[-1]
    return done.stdout.decode(), last.partition(":")[0].rpartition(".")[2]


@pytest.mark.parametrize("script", [REQUESTS, HTTPX, AIOHTTP], ids=["requests", "httpx", "aiohttp"])
async def test_a_client_gets_its_generation(router: Router, sim: RunningSim, script: str) -> None:
    printed, error = await run_client(script, router.url, prompt(tokens=7))
    assert error == ""
    assert json.loads(printed)["meta_info"]["completion_tokens"] == 7


async def test_the_openai_client_gets_the_same_text_streamed_and_whole(
    router: Router, sim: RunningSim
) -> None:
    printed, error = await run_client(OPENAI, router.url, {})
    assert error == ""
    answer = json.loads(printed)
    assert answer["whole"] == answer["streamed"] != ""


async def test_httpx_on_trio_keeps_its_connections(router: Router, sim: RunningSim) -> None:
    async with httpx.AsyncClient(base_url=router.url, trust_env=False, timeout=20) as client:
        for number in range(3):
            answer = await client.post("/generate", json=prompt(str(number)))
            assert answer.json()["meta_info"]["completion_tokens"] == 4
            async with client.stream("POST", "/generate", json=prompt(stream=True)) as stream:
                lines = [line async for line in stream.aiter_lines() if line]
            assert lines[-1] == "data: [DONE]"


async def curl(*arguments: str) -> tuple[int, bytes]:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    done = await trio.run_process(
        [program, "-sS", "--noproxy", "*", "--max-time", "20", *arguments],
        check=False,
        capture_stdout=True,
        capture_stderr=True,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2"])
async def test_curl_of_every_version_works(router: Router, sim: RunningSim, version: str) -> None:
    url = f"{router.url}/generate"
    code, out = await curl(version, "--json", json.dumps(prompt()), url)
    expected = 0
    if version == "--http2":  # it asks for an upgrade to h2c, which is refused in words
        assert b"upgrade_unsupported" in out
    else:
        assert json.loads(out)["meta_info"]["completion_tokens"] == 4
    assert code == expected


@pytest.mark.parametrize("fault", ["truncate", "truncate_chunked"])
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
async def test_curl_sees_that_an_answer_broke_off(
    router: Router, sim: RunningSim, version: str, fault: str
) -> None:
    sim.worker.add_fault(f"{fault}:count=all")
    url = f"{router.url}/generate"
    code, _ = await curl(version, "--json", json.dumps(prompt()), url)
    assert code in {18, 56}, "partial file, or failure in receiving"


@pytest.mark.parametrize("fault", ["truncate", "truncate_chunked"])
@pytest.mark.parametrize(
    ("name", "script"), [("requests", REQUESTS), ("httpx", HTTPX), ("aiohttp", AIOHTTP)]
)
async def test_a_client_sees_that_an_answer_broke_off(
    router: Router, sim: RunningSim, name: str, script: str, fault: str
) -> None:
    sim.worker.add_fault(f"{fault}:count=all")
    printed, error = await run_client(script, router.url, prompt())
    assert printed == ""
    assert error in BROKEN[name]


async def test_the_openai_client_sees_that_its_stream_broke_off(router: Router) -> None:
    async with joined(router, SimSettings()) as (sim,):
        fault = "truncate_chunked=1500:path=/v1/chat/completions,count=all"
        sim.worker.add_fault(fault)
        printed, error = await run_client(OPENAI_STREAM, router.url, {})
    assert printed == ""
    assert error in BROKEN["openai"]
