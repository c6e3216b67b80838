"""The tokens of an answer in the text that the client got."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.agreement import agrees
from miles_router.core.alignment import line_up, lump
from miles_router.core.radix.run import EMPTY, TokenRun, UnfitRun
from tests.doubles.toy_tokenizer import DRAWN_IDS, SPECIAL, ToyTokenizer

if TYPE_CHECKING:
    from miles_router.core.trajectory.turn import SpelledOutput

TOY = ToyTokenizer()
IDS = st.lists(st.sampled_from(DRAWN_IDS), max_size=10)


def run(*pieces: str) -> TokenRun:
    data = [piece.encode() for piece in pieces]
    return TokenRun.of(range(len(data)), [len(piece) for piece in data], b"".join(data))


def shares(output: SpelledOutput) -> tuple[list[str], list[str], str]:
    """Text of each visible token, text of each one behind, and the partial text."""
    found, start = [], 0
    for end in output.run.ends().tolist():
        found.append(output.run.text[start:end].decode())
        start = end
    visible = output.visible_tokens
    return found[:visible], found[visible:], output.partial.decode()


def lined(
    spelled: list[str], literal: list[str] | None, text: str
) -> tuple[list[str], list[str], str]:
    shown = run(*spelled)
    return shares(line_up(shown, shown if literal is None else run(*literal), text.encode()))


# Special tokens are written in angle brackets; skipped, they show nothing.
@pytest.mark.parametrize(
    ("literal", "text", "visible", "tail"),
    [
        (["ab", "c"], "abc", ["ab", "c"], []),
        (["ab", "<e>"], "ab", ["ab"], ["<e>"]),
        (["ab", "<x>", "<e>"], "ab", ["ab"], ["<x>", "<e>"]),
        (["<x>", "ab", "<x>", "c", "<e>"], "abc", ["", "ab", "", "c"], ["<e>"]),
        (["<e>"], "", [], ["<e>"]),
        ([], "", [], []),
        # What shows nothing and has no literal is no special token: it stays with the text.
        (["ab", ""], "ab", ["ab", ""], []),
        (["ab", "", "<e>"], "ab", ["ab", ""], ["<e>"]),
        (["ab", "<e>", ""], "ab", ["ab"], ["<e>", ""]),
    ],
)
def test_special_tokens_at_the_end_are_the_tail_of_a_whole_text(
    literal: list[str], text: str, visible: list[str], tail: list[str]
) -> None:
    spelled = ["" if piece.startswith("<") else piece for piece in literal]
    assert lined(spelled, literal, text) == (visible, tail, "")


def test_special_tokens_that_are_shown_are_text_like_any_other() -> None:
    assert lined(["ab", "<e>"], None, "ab<e>") == (["ab", "<e>"], [], "")


@pytest.mark.parametrize(
    ("spelled", "literal", "text", "visible", "tail", "partial"),
    [
        # A stop token, trimmed from a text that shows special tokens.
        (["ab", "<e>"], None, "ab", ["ab"], ["<e>"], ""),
        # A stop string, trimmed at a token's end, inside of one, from the first byte on.
        (["ab", "ST", "OP"], None, "ab", ["ab"], ["ST", "OP"], ""),
        (["ab", "cST", "OP"], None, "abc", ["ab"], ["cST", "OP"], "c"),
        (["aST", "OP"], None, "a", [], ["aST", "OP"], "a"),
        (["ST", "OP"], None, "", [], ["ST", "OP"], ""),
        # Behind it, special tokens have their literals; before it, they show nothing.
        (["ab", "ST", "OP", ""], ["ab", "ST", "OP", "<e>"], "ab", ["ab"], ["ST", "OP", "<e>"], ""),
        (["ab", "", "ST"], ["ab", "<x>", "ST"], "ab", ["ab", ""], ["ST"], ""),
        (["", "ab"], ["<x>", "ab"], "", [""], ["ab"], ""),
        # Tokens that only begin a character go where the character goes.
        (["a", "", "", "你b"], None, "a", ["a"], ["", "", "你b"], ""),
        (["a", "", "", "你b"], None, "a你", ["a"], ["", "", "你b"], "你"),
        (["a", "", "你", "", "好"], None, "a你", ["a", "", "你"], ["", "好"], ""),
        # Half a character held back.
        (["a", "\ufffd"], None, "a", ["a"], ["\ufffd"], ""),
    ],
)
def test_what_a_worker_trimmed_is_the_tail(
    spelled: list[str],
    literal: list[str] | None,
    text: str,
    visible: list[str],
    tail: list[str],
    partial: str,
) -> None:
    assert lined(spelled, literal, text) == (visible, tail, partial)


@pytest.mark.parametrize(
    ("spelled", "literal", "text", "visible", "tail"),
    [
        # A space between special tokens.
        (["ab", "<x>", "c"], None, "ab <x> c", ["ab", "", " <x> c"], []),
        # The last one agrees, and takes what comes behind.
        (["ab", "c"], None, "abc ", ["ab", "c "], []),
        (["ab", ""], None, "ab ", ["ab", " "], []),
        # Nothing agrees.
        (["ab", "c", "d"], None, " abcd", ["", "", " abcd"], []),
        # A clean-up took a space, inside a token and before one.
        (["ab", " ,", " c"], None, "ab, c", ["ab", "", ", c"], []),
        # Bytes that agree inside a token, or inside a character, do not count.
        (["ab", "cd", "e"], None, "abc de", ["ab", "", "c de"], []),
        (["é", "\ufffd\ufffd"], None, "éê", ["é", "ê"], []),
        # Special tokens that are skipped are the tail here too.
        (["ab", " ,", ""], ["ab", " ,", "<e>"], "ab,", ["ab", ","], ["<e>"]),
        ([""], ["<e>"], " ", [" "], []),
        # Bytes that are no text behind a character in bytes, decoded apart.
        (["a", *["\ufffd"] * 4], None, "a你\ufffd", ["a", "", "", "", "你\ufffd"], []),
        # A stop token or stop string that was trimmed behind the spaces.
        (["ab", "<x>", "<e>"], None, "ab <x>", ["ab", " <x>"], ["<e>"]),
        (["ab", "<x>", "ST", "OP"], None, "ab <x> ", ["ab", " <x> "], ["ST", "OP"]),
        (
            ["ab", " ,", "ST", "OP", ""],
            ["ab", " ,", "ST", "OP", "<e>"],
            "ab,",
            ["ab", ","],
            ["ST", "OP", "<e>"],
        ),
        # Trimmed inside a token: not clear enough, so all of it is one lump.
        (["ab", "<x>", "cST", "OP"], None, "ab <x>c", ["ab", "", "", " <x>c"], []),
        (["a", "b"], None, "  ", ["", "  "], []),
        # Halves of a character that a special token parts: no beginning of the tail's literal.
        (["", "", "你b"], ["\ufffd", "<x>", "\ufffdb"], "你", ["", "", "你"], []),
    ],
)
def test_where_they_disagree_the_last_token_takes_the_rest(
    spelled: list[str], literal: list[str] | None, text: str, visible: list[str], tail: list[str]
) -> None:
    assert lined(spelled, literal, text) == (visible, tail, "")


def test_a_lump_that_cannot_be_packed_is_refused() -> None:
    spelled = run("ab", "c")
    fits = line_up(spelled, spelled, b"ab" + b" " * 65_534 + b"c")
    assert shares(fits)[0][1] == " " * 65_534 + "c"
    with pytest.raises(UnfitRun, match="65535"):
        line_up(spelled, spelled, b"ab" + b" " * 65_535 + b"c")


def test_text_without_tokens_is_refused() -> None:
    with pytest.raises(UnfitRun, match="without a token"):
        line_up(EMPTY, EMPTY, b" ")


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ([], "a"),
        (["ab", "c"], "xyz"),
        (["ab", "c"], "abcd"),
        (["ab", "c"], "ab and much more"),
        (["ab", "c"], "Abc"),
        (["ab", "cd", "e"], "abcxe"),
        (["é", "è"], "éê"),
        (["ab", "", "c"], "abxc"),
        # Special tokens: all of them are shown, or none.
        (["ab", "<x>", "c"], "ab<y>c"),
        (["ab", "<x>", "c", "<e>"], "ab<x>c"),
    ],
)
def test_the_text_of_other_tokens_is_refused(literal: list[str], text: str) -> None:
    spelled = ["" if piece.startswith("<") else piece for piece in literal]
    with pytest.raises(UnfitRun, match="not what the tokens spell"):
        lined(spelled, literal, text)


def test_runs_of_other_tokens_are_refused() -> None:
    with pytest.raises(UnfitRun, match="not the same"):
        line_up(run("a"), run("a", "b"), b"a")


def check(ids: list[int], skips: bool, text: str) -> SpelledOutput:
    """What holds for any answer."""
    spelled = TOY.spell(ids, skip_special_tokens=skips)
    literal = TOY.spell(ids, skip_special_tokens=False) if skips else spelled
    output = line_up(spelled, literal, text.encode())
    visible, tail, partial = shares(output)
    assert output.run.id_array.tolist() == ids
    assert "".join(visible) + partial == text
    assert "".join(tail).startswith(partial)
    assert 0 <= output.visible_tokens <= len(ids)
    tail_run = output.run.cut(output.visible_tokens, len(ids))
    assert tail_run == literal.cut(output.visible_tokens, len(ids))
    # Every place where the text could be cut is one where the tokens spell the text before it.
    before = 0
    for place, end in enumerate(output.run.ends()[: output.visible_tokens].tolist()):
        if end > before and place + 1 < output.visible_tokens:
            assert output.run.text[:end] == spelled.text[: spelled.text_bytes_of(place + 1)]
        before = end
    return output


@given(IDS, st.booleans())
def test_a_whole_text_shows_all_that_is_not_special_at_the_end(ids: list[int], skips: bool) -> None:
    spelled = TOY.spell(ids, skip_special_tokens=skips)
    output = check(ids, skips, spelled.text.decode())
    assert output.partial == b""
    behind = ids[output.visible_tokens :]
    assert all(token in SPECIAL for token in behind)
    assert skips or not behind
    if skips and ids and ids[-1] in SPECIAL:
        assert behind


@given(IDS, st.booleans(), st.data())
def test_a_trimmed_text_is_a_beginning(ids: list[int], skips: bool, data: st.DataObject) -> None:
    text = TOY.spell(ids, skip_special_tokens=skips).text.decode()
    check(ids, skips, text[: data.draw(st.integers(0, len(text)))])


@given(IDS.filter(bool), st.booleans(), st.text(st.sampled_from("abcd é\ufffd<e>"), max_size=12))
def test_any_other_text_is_kept_if_it_agrees(ids: list[int], skips: bool, text: str) -> None:
    spelled = TOY.spell(ids, skip_special_tokens=skips)
    if agrees(text.encode(), spelled.text):
        check(ids, skips, text)
    else:
        with pytest.raises(UnfitRun, match="not what the tokens spell"):
            check(ids, skips, text)


@given(IDS.filter(bool), st.booleans(), st.data())
def test_spaces_put_anywhere_are_kept(ids: list[int], skips: bool, data: st.DataObject) -> None:
    text = TOY.spell(ids, skip_special_tokens=skips).text.decode()
    place = data.draw(st.integers(0, len(text)))
    output = check(ids, skips, f"{text[:place]} {text[place:]}")
    agreed = len(text[:place].encode())
    spelled = TOY.spell(ids, skip_special_tokens=skips)
    for count in range(output.visible_tokens):
        if spelled.text_bytes_of(count) <= agreed:
            assert output.run.text_bytes_of(count) == spelled.text_bytes_of(count)


@given(IDS.filter(bool), st.text(st.sampled_from("abé "), max_size=8))
def test_a_lump_keeps_ids_and_shows_the_text(ids: list[int], text: str) -> None:
    lumped = lump(TOY.spell(ids, skip_special_tokens=False), text.encode())
    assert lumped.id_array.tolist() == ids
    assert lumped.text.decode() == text
