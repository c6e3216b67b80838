"""Finds the classes that `--middleware` names.

A class is called as `Class(app, router=...)` where its signature takes `router`, else as
`Class(app)`. One that takes any keyword may pass them on to a base that knows no `router`: it is
called with it, and without it if that raises TypeError. What cannot be imported or called is a
start-up error that names the flag.
"""

from __future__ import annotations

import importlib
import inspect
from contextlib import suppress
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
    except (Exception, SystemExit) as error:  # scripts end the process they believe is theirs
        raise _fault(
            path, f"importing {module_name} raised {type(error).__name__}: {error}"
        ) from error
    factory = getattr(module, class_name, None)
    if factory is None:
        raise _fault(path, f"{module_name} has no {class_name}")
    if not callable(factory):
        raise _fault(path, f"{class_name} is not a class")
    if inspect.iscoroutinefunction(factory):
        raise _fault(path, f"{class_name} is an async function, not a class to be made with an app")
    loaded: Factory = factory
    return loaded


def wrap(app: App, paths: Iterable[str], router: object) -> App:
    """`app` inside the middleware of `paths`, the first one outermost.

    Raises:
        ConfigFault: one of them cannot be loaded or refuses its arguments.
    """
    for path in reversed(list(paths)):
        factory = load(path)
        try:
            made = _make(factory, app, router)
        except (Exception, SystemExit) as error:
            raise _fault(path, f"making it raised {type(error).__name__}: {error}") from error
        if not callable(made):
            if inspect.iscoroutine(made):
                made.close()
            raise _fault(path, f"making it gave a {type(made).__name__}, which cannot be called")
        app = made
    return app


def _make(factory: Factory, app: App, router: object) -> App:
    parameters = _parameters(factory)
    if any(p.name == "router" and p.kind is not p.POSITIONAL_ONLY for p in parameters):
        return factory(app, router=router)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        with suppress(TypeError):
            return factory(app, router=router)
    return factory(app)


def _parameters(factory: Factory) -> list[inspect.Parameter]:
    """What `factory` can be called with; nothing where Python cannot tell."""
    try:
        return list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):
        return []


def _fault(path: str, why: str) -> ConfigFault:
    return ConfigFault(f"--middleware {path}: {why}", key="middleware")
