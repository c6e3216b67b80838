from __future__ import annotations

import asyncio
import json

import anyio
import httpx
import pytest

from miles_router.tui.commands import Add, CommandRefused, Drain
from miles_router.tui.http_controls import HttpControls
from tests.tui.asyncio_tests import tui_test

URL = "http://router:30000"
DRAINED = {"id": "w1", "url": "http://a:1", "status": "drained"}


def controls(answer: object, *, is_read_only: bool = False) -> HttpControls:
    """Controls of a router that answers with `answer`, or raises it."""

    async def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, httpx.Response)
        answer.request = request
        return answer

    made = HttpControls(URL, is_read_only=is_read_only)
    made.http = httpx.AsyncClient(base_url=URL, transport=httpx.MockTransport(handle))
    return made


async def refusal(made: HttpControls) -> str:
    with pytest.raises(CommandRefused) as caught:
        await made.perform(Drain("w1"))
    return str(caught.value)


@tui_test
async def test_a_command_is_sent_and_answered() -> None:
    answer = httpx.Response(200, json=DRAINED)
    assert await controls(answer).perform(Drain("w1")) == "a:1 is drained: nothing runs on it"
    assert (answer.request.method, answer.request.url.path) == ("POST", "/workers/w1/drain")
    answer = httpx.Response(202, json={"url": "http://a:1"})
    await controls(answer).perform(Add("http://a:1"))
    assert json.loads(answer.request.content) == {"url": "http://a:1"}
    assert answer.request.headers["content-type"] == "application/json"


@tui_test
async def test_a_refusal_is_the_routers() -> None:
    answer = httpx.Response(409, json={"error": {"code": "x", "message": "it is not draining"}})
    assert await refusal(controls(answer)) == "it is not draining"


@tui_test
async def test_nothing_is_sent_that_may_not() -> None:
    made = controls(AssertionError("it was sent"), is_read_only=True)
    assert await refusal(made) == made.refusal == "this UI is read-only (--read-only)"
    made = controls(AssertionError("it was sent"))
    made.denial = "no token"
    assert await refusal(made) == "no token"
    made = HttpControls(URL)
    assert await refusal(made) == "there is no connection to the router"


@tui_test
async def test_what_is_not_known_to_be_done_is_said_so() -> None:
    lost = await refusal(controls(httpx.ReadError("reset")))
    assert lost == f"the connection to {URL} broke (ReadError); it may have been done all the same"
    unsent = await refusal(controls(httpx.ConnectError("All connection attempts failed")))
    assert unsent == f"no router answers at {URL}"


@pytest.mark.parametrize("broken", [anyio.ClosedResourceError(), OSError("reset")], ids=repr)
def test_what_breaks_below_http_is_a_refusal(broken: Exception) -> None:
    async def send() -> None:
        said = await refusal(controls(broken))
        name = type(broken).__name__
        assert said == f"the connection to {URL} broke ({name}); it may have been done all the same"

    tui_test(send)()


@tui_test
async def test_a_mistake_of_its_own_is_raised() -> None:
    with pytest.raises(KeyError):
        await controls(KeyError("odd")).perform(Drain("w1"))


@tui_test
async def test_a_command_can_be_given_up() -> None:
    made = HttpControls(URL)

    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    made.http = httpx.AsyncClient(base_url=URL, transport=httpx.MockTransport(hang))
    task = asyncio.create_task(made.perform(Drain("w1")))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
