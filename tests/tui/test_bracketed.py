from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual._xterm_parser import XTermParser

from miles_router.tui.bracketed import BEGIN, END, Bracketed, shown


def told(*pieces: str) -> list[tuple[str, str]]:
    """What Textual makes of what a terminal sends in these pieces: keys and pasted texts."""
    parser, bracketed = XTermParser(), Bracketed()
    found = []
    for piece in pieces:
        hidden = bracketed.hide(piece)
        for event in parser.feed(hidden) if hidden else ():
            if isinstance(event, events.Key):
                found.append(("key", event.key))
            elif isinstance(event, events.Paste):
                found.append(("pasted", shown(event.text)))
    return found


COLOURED = "\x1b[31mqd\x1b[0m \x1bx\x1b"


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ("q", [("key", "q")]),
        ("\x1b[A", [("key", "up")]),
        (f"{BEGIN}plain{END}q", [("pasted", "plain"), ("key", "q")]),
        (f"{BEGIN}{COLOURED}{END}q", [("pasted", COLOURED), ("key", "q")]),
        (f"{BEGIN}{BEGIN}a{END}b", [("pasted", f"{BEGIN}a"), ("key", "b")]),
        (f"{BEGIN}\x1b[201{END}", [("pasted", "\x1b[201")]),
        (f"{BEGIN}a{END}{BEGIN}\x1b[A{END}", [("pasted", "a"), ("pasted", "\x1b[A")]),
    ],
)
def test_pasted_text_presses_no_key(sent: str, found: list[tuple[str, str]]) -> None:
    # The parser tells of a paste with the next character.
    assert told(sent, "z") == [*found, ("key", "z")]
    assert told(*sent, "z") == [*found, ("key", "z")]


PARTS = st.sampled_from([BEGIN, END, "\x1b", "[20", "1~", "0~", "q", "\u00e9", "\x1b[2"])


@given(st.lists(PARTS, max_size=12).map("".join), st.data())
def test_where_it_is_cut_makes_no_difference(sent: str, data: st.DataObject) -> None:
    whole = Bracketed()
    expected = whole.hide(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    parts = Bracketed()
    assert "".join(map(parts.hide, pieces)) == expected
    assert shown(expected) == sent[: len(expected)], "nothing is lost but what may begin an END"
    assert len(sent) - len(expected) < len(END)


@given(st.lists(PARTS, max_size=12).map("".join).filter(lambda text: BEGIN not in text))
def test_what_is_not_pasted_is_passed_on_at_once(sent: str) -> None:
    bracketed = Bracketed()
    assert [bracketed.hide(one) for one in sent] == list(sent)
