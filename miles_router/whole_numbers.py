"""Whole numbers on the command line are what was written, never rounded.

Cyclopts reads `--port 3.7` as 4. `refuse_fractions` is a cyclopts config: it runs once flags,
environment and files have said what they say, and before any text becomes a value. It must not
know which settings there are.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, get_args

from cyclopts import CoercionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import App, Argument, ArgumentCollection


def refuse_fractions(app: App, commands: Sequence[str], arguments: ArgumentCollection) -> None:
    """Refuse texts such as `3.7` for every argument that is an int.

    Raises:
        CoercionError: names the argument, and where the text stands.
    """
    del app, commands
    for argument in arguments:
        for token in argument.tokens if _is_whole(argument) else ():
            if _is_fraction(token.value):
                raise CoercionError(argument=argument, token=token, target_type=int)


def _is_whole(argument: Argument) -> bool:
    """Whether cyclopts makes an int of it; a converter of its own decides by itself."""
    hint: Any = argument.hint
    return argument.parameter.converter is None and int in (hint, *get_args(hint))


def _is_fraction(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return not float(text).is_integer()
    return False
