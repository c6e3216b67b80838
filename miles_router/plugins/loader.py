"""Finds the classes that `--middleware` names.

A class is called as `Class(app, router=...)` where its signature takes `router`, else as
`Class(app)`. What cannot be imported or called is a start-up error that names the flag.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
    Factory = Callable[..., App]


def load(path: str) -> Factory:
    """The class at `module:Class` (or `module.Class`, as miles writes it).

    Raises:
        ConfigFault: there is none.
    """
    module_name, _, class_name = path.partition(":") if ":" in path else path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise _fault(
            path, f"importing {module_name} raised {type(error).__name__}: {error}"
        ) from error
    factory = getattr(module, class_name, None)
    if factory is None:
        raise _fault(path, f"{module_name} has no {class_name}")
    if not callable(factory):
        raise _fault(path, f"{class_name} is not a class")
    loaded: Factory = factory
    return loaded


def wrap(app: App, paths: Iterable[str], router: object) -> App:
    """`app` inside the middleware of `paths`, the first one outermost.

    Raises:
        ConfigFault: one of them cannot be loaded or refuses its arguments.
    """
    for path in reversed(list(paths)):
        factory = load(path)
        arguments: dict[str, Any] = {"router": router} if _takes_router(factory) else {}
        try:
            app = factory(app, **arguments)
        except Exception as error:
            raise _fault(path, f"making it raised {type(error).__name__}: {error}") from error
    return app


def _takes_router(factory: Factory) -> bool:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "router" or p.kind is p.VAR_KEYWORD for p in parameters)


def _fault(path: str, why: str) -> ConfigFault:
    return ConfigFault(f"--middleware {path}: {why}", key="middleware")
