"""Worker pool routes under the names that miles and slime clients use.

Their clients read `worker_urls` as an object of url to inflight, and on a missing URL a plain
string under `error`; both are kept to the letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import trio
from quart import Blueprint, Response, request

from miles_router.errors import BadRequest, TooLarge, UnknownWorker, UrlRefused
from miles_router.web.own import json_reply

if TYPE_CHECKING:
    from miles_router.net.services import Services
    from miles_router.web.registration import Registrar

# Registrations and commands are a few hundred bytes.
MAX_OBJECT_BYTES = 1024 * 1024


def make_compat(services: Services, registrar: Registrar) -> Blueprint:
    """The routes `/add_worker`, `/remove_worker`, `/list_workers`."""
    routes = Blueprint("compat", __name__)

    @routes.post("/add_worker")
    async def add_worker() -> Response:
        body = await read_object()
        url = _named_url(body)
        if url is None:
            return _missing_url()
        await registrar.add(url, body)
        urls = {worker.url: worker.inflight for worker in services.pool.listed}
        return json_reply({"status": "success", "worker_urls": urls})

    @routes.post("/remove_worker")
    async def remove_worker() -> Response:
        url = _named_url(await read_object())
        if url is None:
            return _missing_url()
        try:
            worker = services.pool.find(url)
        except (UnknownWorker, UrlRefused):
            return json_reply({"status": "success"})
        registrar.authorize_removal(worker)
        services.pool.remove(worker, trio.current_time())
        return json_reply({"status": "success"})

    @routes.get("/list_workers")
    async def list_workers() -> Response:
        return json_reply({"urls": [worker.url for worker in services.pool.listed]})

    return routes


async def read_object() -> dict[str, object]:
    """The JSON object in the body; an empty one where there is no body.

    Raises:
        BadRequest: the body is something else.
        TooLarge: it is more than a command can be.
    """
    data = await request.get_data()
    if len(data) > MAX_OBJECT_BYTES:
        raise TooLarge("the body is too large for this route")
    if not data.strip():
        return {}
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the body must be a JSON object") from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _named_url(body: dict[str, object]) -> str | None:
    """The URL a client named: in the query before the body, `url` before `worker_url`."""
    for source in (request.args, body):
        for key in ("url", "worker_url"):
            value = source.get(key)
            if isinstance(value, str) and value:
                return value
    return None


def _missing_url() -> Response:
    message = "worker_url is required (use query ?url=... or JSON body)"
    return json_reply({"error": message, "code": "url_missing"}, 400)
