from __future__ import annotations

from typing import Any

import pytest

from miles_router.errors import ConfigFault
from miles_router.plugins.loader import load, wrap
from tests.plugins import samples

S = "tests.plugins.samples"


async def innermost(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


@pytest.mark.parametrize("path", [f"{S}:Plain", f"{S}.Plain"])
def test_both_spellings_name_the_class(path: str) -> None:
    assert load(path) is samples.Plain


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no_such_module_anywhere:X", "No module named 'no_such_module_anywhere'"),
        (f"{S}:NoSuchClass", f"{S} has no NoSuchClass"),
        (f"{S}:NOT_CALLABLE", "NOT_CALLABLE is not a class"),
        ("tests.plugins.broken_module:X", "RuntimeError: this module is broken"),
        ("tests.plugins.exiting_module:X", "SystemExit: usage: exiting_module FILE"),
        (f"{S}:ExitsWhenMade", "SystemExit: 3"),
        (f"{S}:async_function", "async_function is an async function, not a class"),
        (f"{S}:READY_MADE", "making it gave a coroutine, which cannot be called"),
        (f"{S}:makes_nothing", "making it gave a NoneType, which cannot be called"),
        (f"{S}:TakesMore", "needed"),
        (f"{S}:RaisesWhenMade", "OSError: no such file"),
        (f"{S}:RaisesTypeError", "TypeError: not a matter of keywords"),
    ],
)
def test_what_cannot_be_loaded_is_an_error_that_names_the_flag(path: str, said: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        wrap(innermost, [path], object())
    assert caught.value.message.startswith(f"--middleware {path}: ")
    assert said in caught.value.message
    assert caught.value.key == "middleware"


def test_the_first_one_is_outermost() -> None:
    app: Any = wrap(innermost, [f"{S}:Plain", f"{S}:Second"], object())
    assert type(app) is samples.Plain
    assert type(app.app) is samples.Second
    assert app.app.app is innermost


def test_none_at_all_is_the_app_itself() -> None:
    assert wrap(innermost, [], object()) is innermost


def test_the_router_is_given_to_those_who_take_it() -> None:
    router = object()
    with_router: Any = wrap(innermost, [f"{S}:WithRouter"], router)
    assert with_router.router is router
    with_keywords: Any = wrap(innermost, [f"{S}:TakesKeywords"], router)
    assert with_keywords.keywords == {"router": router}


def test_a_class_whose_base_knows_no_router_is_made_without_it() -> None:
    app: Any = wrap(innermost, [f"{S}:PassesKeywordsOn"], object())
    assert type(app) is samples.PassesKeywordsOn
    assert app.app is innermost


def test_a_function_serves_as_well() -> None:
    assert wrap(innermost, [f"{S}:make_function"], object()) is innermost
