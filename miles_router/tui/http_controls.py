"""Carries out commands on a router behind HTTP, on asyncio.

Who may send them is the router's to say: its refusals are shown as they are.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  it runs on the screens' loop
from typing import TYPE_CHECKING

import httpx

from miles_router.tui.answers import is_break, trouble_of
from miles_router.tui.commands import CommandRefused
from miles_router.tui.wire import call_for, sentence_for

if TYPE_CHECKING:
    from miles_router.tui.commands import Command


class HttpControls:
    """Sends commands; `http` (None: not connected) and `denial` are the source's to set."""

    def __init__(self, url: str, *, is_read_only: bool = False) -> None:
        self.url = url
        self.http: httpx.AsyncClient | None = None
        self.denial = ""
        self._is_read_only = is_read_only

    @property
    def refusal(self) -> str:
        """Why no command can be sent at all; empty if they can."""
        return "this UI is read-only (--read-only)" if self._is_read_only else self.denial

    async def perform(self, command: Command) -> str:
        """Carry out `command`; what was done.

        Cancellation: the router may carry it out nevertheless.

        Raises:
            CommandRefused: it was not done, or it is not known whether it was.
        """
        if self.refusal:
            raise CommandRefused(self.refusal)
        if self.http is None:
            raise CommandRefused("there is no connection to the router")
        call = call_for(command)
        headers = {"Content-Type": "application/json"} if call.body else {}
        try:
            async with asyncio.timeout(call.timeout_s):
                answer = await self.http.request(
                    call.method,
                    call.target,
                    content=call.body or None,
                    headers=headers,
                    timeout=call.timeout_s,
                )
        except Exception as error:  # sorted at once: only a break is a refusal
            if not is_break(error):
                raise
            trouble = trouble_of(self.url, error, timeout_s=call.timeout_s)
            is_open = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            rest = "" if is_open else "; it may have been done all the same"
            raise CommandRefused(f"{trouble}{rest}") from None
        return sentence_for(command, answer.status_code, answer.content)
