"""What stands where there is no worker yet: the exact commands that add one."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from miles_router.tui import format as fmt
from miles_router.tui.glyphs import UNICODE, Glyphs
from miles_router.tui.rows.table import Cell, Line
from miles_router.tui.source import LinkState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miles_router.tui.source import Link

WORKER_URL = "http://HOST:PORT"


def empty_pool_lines(
    url: str,
    width: int = 80,
    *,
    height: int = 100,
    needs_token: bool = False,
    can_add: bool = True,
    glyphs: Glyphs = UNICODE,
) -> list[Line]:
    """How to add a worker to the router at `url`, by key and by two commands for a shell.

    Commands are never cut: what is wider than the screen goes on after a backslash, so that it can
    be copied. `needs_token`: the router has an admin token, which the commands read from
    $ADMIN_TOKEN. `can_add`: the key `a` works here. No line is padded. In fewer than `height` lines
    there is first less space, then less text; the command of miles-router is always there.
    """
    url = reachable(url)
    by_key = "Press a to add one here, or from a shell:" if can_add else "Add one from a shell:"
    curl, cli = (
        [_text(line, "good") for line in wrapped(command, width, glyphs)]
        for command in (
            add_by_curl(url, needs_token=needs_token),
            add_by_cli(url, needs_token=needs_token),
        )
    )
    token = [_text("ADMIN_TOKEN holds the router's admin token.", "dim")] if needs_token else []
    start = [_text(f"or start the router with  --worker {WORKER_URL}", "dim")]
    head, how = [_text("No workers yet", "accent")], [_text(by_key, "")]
    space: list[Line] = [()]
    lines: list[Line] = []
    for parts in (
        (head, space, how, space, curl, space, cli, space, token, start),
        (head, how, curl, cli, token, start),
        (head, how, cli, token, start),
        (head, how, cli),
        (cli,),
    ):
        lines = [line for part in parts for line in part]
        if len(lines) <= height:
            break
    return [
        tuple(Cell(fmt.fit_most(c.text, width, glyphs), c.tone) for c in line) for line in lines
    ]


def reachable(url: str) -> str:
    """`url` as a worker's machine can use it: one that means all of a machine's addresses has a
    word in their place."""
    for all_addresses in ("://0.0.0.0", "://[::]"):
        url = url.replace(all_addresses, "://ROUTER_HOST", 1)
    return url


def waiting_lines(
    link: Link, url: str, width: int, now: float, glyphs: Glyphs = UNICODE
) -> list[Line]:
    """What stands where workers will be, before anything came from the router; not padded."""
    lost = link.state is LinkState.LOST
    lines: list[Line] = [
        _text(line, "accent")
        for line in fmt.wrap(glyphs.safe(f"waiting for {url}"), width, glyphs=glyphs)
    ]
    if link.detail:
        lines.append(())
        tone = "bad" if lost else ""
        lines += [_text(line, tone) for line in fmt.wrap(glyphs.safe(link.detail), width)]
    if link.retry_at is not None:
        due = fmt.age(max(0.0, link.retry_at - now))
        lines += [(), _text(fmt.fit_most(f"tried again in {due}, or now with R", width), "dim")]
    return lines


def add_by_curl(url: str, *, needs_token: bool = False) -> list[str]:
    """The command that adds a worker with curl, in parts that stay together."""
    header = ['-H "Authorization: Bearer $ADMIN_TOKEN"'] if needs_token else []
    query = shlex.quote(f"{url.rstrip('/')}/add_worker?url={WORKER_URL}")
    return ["curl -X POST", *header, query]


def add_by_cli(url: str, *, needs_token: bool = False) -> list[str]:
    """The command that adds a worker with miles-router, in parts that stay together."""
    token = ['--admin-token "$ADMIN_TOKEN"'] if needs_token else []
    return ["miles-router add", WORKER_URL, f"--url {shlex.quote(url)}", *token]


def wrapped(parts: Sequence[str], width: int, glyphs: Glyphs = UNICODE) -> list[str]:
    """A command on lines of at most `width` cells, as far as its parts are no longer."""
    lines = [""]
    for word in (glyphs.safe(part) for part in parts):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if len(joined) + 2 > width and lines[-1].strip():
            lines[-1] += " \\"
            lines.append("  " + word)
        else:
            lines[-1] = joined
    return lines


def _text(text: str, tone: str) -> Line:
    return (Cell(text, tone),)  # type: ignore[arg-type]
