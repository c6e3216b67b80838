"""Both ways to serve a connection: the fast lane, and Hypercorn for all requests.

What clients see must not depend on it, so tests of it run against both: they use the fixture
`server` and make their listener here.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from miles_router import app as router_app
from miles_router.cli import main
from miles_router.net.ingress import Ingress

if TYPE_CHECKING:
    from collections.abc import Iterator

Server = Literal["lane", "hypercorn"]
SERVERS: tuple[Server, ...] = get_args(Server)
_chosen: Server = "lane"


def choose(server: Server) -> Iterator[Server]:
    """Make listeners of that kind until the end."""
    global _chosen  # noqa: PLW0603  one test runs at a time
    before, _chosen = _chosen, server
    yield server
    _chosen = before


def make_ingress(app: Any, **parts: Any) -> Ingress:
    """A listener of the kind that the test runs with."""
    ingress = Ingress(app, has_lane=_chosen == "lane", **parts)
    ingress.hypercorn.load()  # no thread: clocks of tests do not wait for one
    return ingress


if __name__ == "__main__":  # `serve` without the lane
    vars(router_app)["Ingress"] = partial(Ingress, has_lane=False)
    sys.exit(main())
