"""What a user chooses about the screens themselves, and the app that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from miles_router.tui.app import RouterTui
    from miles_router.tui.host import OnCrash
    from miles_router.tui.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How screens look and what is in their reach.

    Args:
        is_read_only: nothing is changed by any key.
        uses_ascii: only ASCII characters are drawn.
        keymap: id of an action to its keys, as `tui.keymap` takes them.
        log_file: where everything goes that is written while they are up; None: the default.
        on_crash: what happens to a router in the same process when they fail.
    """

    is_read_only: bool = False
    uses_ascii: bool = False
    keymap: Mapping[str, str] = field(default_factory=dict)
    log_file: Path | None = None
    on_crash: OnCrash = "serve"

    def app_for(self, source: Source, *, needs_token: bool) -> RouterTui:
        """The app; made where it is shown, as it takes a while to load.

        `needs_token`: the router asks for a token before it takes a worker.
        """
        from miles_router.tui.app import RouterTui  # noqa: PLC0415  loads Textual

        return RouterTui(
            source,
            is_read_only=self.is_read_only,
            uses_ascii=self.uses_ascii,
            keymap=self.keymap,
            needs_token=needs_token,
        )
