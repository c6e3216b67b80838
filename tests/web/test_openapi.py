from __future__ import annotations

import re
from typing import Any

from miles_router.core.request import OWN_PATHS
from miles_router.web.build import build_app
from tests.web.rig import Rig, open_router


def served(rig: Rig) -> set[tuple[str, str]]:
    """Method and path of every route that Quart serves."""
    app: Any = build_app(rig.services)
    routes: Any = app._own_routes.url_map.iter_rules()
    return {
        (method.lower(), re.sub(r"<path:(\w+)>", r"{\1}", rule.rule))
        for rule in routes
        if rule.endpoint != "static"
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


async def test_the_document_is_exactly_what_is_served() -> None:
    async with open_router() as rig:
        answer = await rig.client.get("/openapi.json")
        assert answer.status == 200
        document = answer.json()
        assert document["openapi"].startswith("3.")
        documented = {
            (method, path) for path, methods in document["paths"].items() for method in methods
        }
        assert documented == served(rig)
        paths = {path for path in document["paths"] if "{" not in path}
        assert paths == OWN_PATHS


async def test_every_operation_is_described() -> None:
    async with open_router() as rig:
        document = (await rig.client.get("/openapi.json")).json()
        operations = [
            (path, operation)
            for path, methods in document["paths"].items()
            for operation in methods.values()
        ]
        ids = [operation["operationId"] for _, operation in operations]
        assert len(set(ids)) == len(ids)
        for path, operation in operations:
            assert operation["summary"]
            assert operation["responses"]
            in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))
