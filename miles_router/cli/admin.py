"""Commands that look at or change a running router, over its HTTP interface.

Each returns its exit code: 0, or 1 with the router's own message and code on standard error.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  the command line reads the annotations at run time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from miles_router.cli.tables import WORKER_HEADERS, worker_row, write_json, write_table
from miles_router.client import DEFAULT_URL, RouterCallFailed, RouterClient, Worker
from miles_router.config.secrets import read_token
from miles_router.config.values import check_secret
from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Callable

_ROUTER = Group("Router to talk to", sort_key=9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The router that a command talks to, and how to print its answer."""

    url: Annotated[str, Parameter(group=_ROUTER)] = DEFAULT_URL
    """Where the router listens; also MILES_ROUTER_URL."""
    admin_token: Annotated[
        str | None, Parameter(group=_ROUTER, metavar="TOKEN", show_default="none")
    ] = None
    """Its admin token, if it has one; also MILES_ROUTER_ADMIN_TOKEN."""
    admin_token_file: Annotated[Path | None, Parameter(group=_ROUTER, show_default="none")] = None
    """File that holds the admin token; also MILES_ROUTER_ADMIN_TOKEN_FILE."""
    as_json: Annotated[
        bool, Parameter(name="--json", group=_ROUTER, negative="", show_default="off")
    ] = False
    """Print the router's answer as it came, for scripts."""


Router = Annotated[Target, Parameter(name="*")]


def _check_name(_: object, worker: str) -> None:
    if not worker.strip():
        raise ValueError("Write the id or the URL of a worker; miles-router workers lists them.")


WorkerName = Annotated[
    str, Parameter(name="WORKER", help="Id or URL of the worker.", validator=_check_name)
]

_HERE = Target()


def _check_labels(_: object, labels: tuple[str, ...]) -> None:
    for label in labels:
        if not label.partition("=")[0] or "=" not in label:
            raise ValueError("Write labels as NAME=VALUE.")


def _check_seconds(_: object, seconds: float | None) -> None:
    if seconds is not None and not 0 <= seconds < math.inf:
        raise ValueError("Write a number of seconds, 0 or more.")


def workers(*, router: Router = _HERE) -> int:
    """Print all workers."""
    return _run(router, lambda client: list(client.workers().workers))


def add(
    worker_url: Annotated[str, Parameter(name="URL", help="Address of the worker.")],
    /,
    *,
    wait_s: Annotated[
        float | None,
        Parameter(
            name="--wait",
            help="Seconds to wait until it takes requests.",
            show_default="no",
            validator=_check_seconds,
        ),
    ] = None,
    worker_api_key: Annotated[
        str | None,
        Parameter(help="Key that the worker itself asks for.", metavar="KEY", show_default="none"),
    ] = None,
    label: Annotated[
        tuple[str, ...],
        Parameter(
            help="Labels to keep with it.",
            metavar="NAME=VALUE...",
            show_default="none",
            consume_multiple=(1, None),
            negative="",
            validator=_check_labels,
        ),
    ] = (),
    router: Router = _HERE,
) -> int:
    """Add a worker."""
    labels = {name: value for name, _, value in (each.partition("=") for each in label)}

    def call(client: RouterClient) -> str:
        added = client.add(worker_url, api_key=worker_api_key, labels=labels, wait_s=wait_s)
        return f"{added.status} {added.worker_id} {added.url}"

    return _run(router, call)


def remove(worker: WorkerName, /, *, router: Router = _HERE) -> int:
    """Remove a worker."""

    def call(client: RouterClient) -> str:
        client.remove(worker)
        return f"removed {worker}; its running requests finish"

    return _run(router, call)


def drain(
    worker: WorkerName,
    /,
    *,
    deadline_s: Annotated[
        float | None,
        Parameter(
            help="Seconds after which its running requests are cut.",
            show_default="none",
            validator=_check_seconds,
        ),
    ] = None,
    wait_s: Annotated[
        float | None,
        Parameter(
            name="--wait",
            help="Seconds to wait until it is drained.",
            show_default="no",
            validator=_check_seconds,
        ),
    ] = None,
    router: Router = _HERE,
) -> int:
    """Give a worker nothing new and let it finish."""

    def call(client: RouterClient) -> list[Worker]:
        drained = client.drain(worker, deadline_s=deadline_s)
        if wait_s is not None:
            drained = client.wait_for(worker, "drained", timeout_s=wait_s)
        return [drained]

    return _run(router, call)


def undrain(worker: WorkerName, /, *, router: Router = _HERE) -> int:
    """Let a drained worker take requests again."""
    return _run(router, lambda client: [client.undrain(worker)])


def quarantine(
    worker: WorkerName,
    /,
    *,
    reason: Annotated[
        str | None,
        Parameter(help="Why, for whoever looks next.", metavar="TEXT", show_default="none"),
    ] = None,
    router: Router = _HERE,
) -> int:
    """Take a worker out until it is released."""
    return _run(router, lambda client: [client.quarantine(worker, reason=reason)])


def release(worker: WorkerName, /, *, router: Router = _HERE) -> int:
    """Put a quarantined worker on probation."""
    return _run(router, lambda client: [client.release(worker)])


def snapshot(*, router: Router = _HERE) -> int:
    """Print everything the router shows about itself."""
    return _run(router, lambda client: json.dumps(client.snapshot(), indent=2))


def _token(target: Target) -> str | None:
    """The admin token, if one is given.

    Raises:
        ConfigFault: no header can carry it.
    """
    if target.admin_token_file is not None:
        return read_token(target.admin_token_file)
    if target.admin_token is not None:
        try:
            check_secret(target.admin_token)
        except ValueError as fault:
            raise ConfigFault(f"--admin-token {fault}", key="admin_token") from None
    return target.admin_token


def _run(target: Target, call: Callable[[RouterClient], str | list[Worker]]) -> int:
    """Make one call and print what it brought."""
    token = _token(target)
    try:
        with RouterClient(target.url, admin_token=token) as client:
            result = call(client)
    except RouterCallFailed as failed:
        sys.stderr.write(f"miles-router: {failed.message} ({failed.code})\n")
        return 1
    if target.as_json:
        write_json(client.last_body.decode())
    elif isinstance(result, str):
        sys.stdout.write(result + "\n")
    else:
        write_table(WORKER_HEADERS, [worker_row(each) for each in result])
    return 0
