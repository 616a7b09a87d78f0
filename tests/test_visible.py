"""The one function that makes names harmless: what it changes, what it leaves, and that it can be applied twice."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlaflow.errors import InputError
from dlaflow.visible import inert, text_of, visible, wrap


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain /conv.1:0 [x] \\ 'q'", "plain /conv.1:0 [x] \\ 'q'"),
        ("模型 café ±", "模型 café ±"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\r\tc\x00", r"a\nb\r\tc\x00"),
        ("\x7f\x85\x9b", r"\u007f\u0085\u009b"),
        ("\u202eevil\u2066\u200f\u061c", r"\u202eevil\u2066\u200f\u061c"),
        ("\u200b\ufeff\u00ad\u2028\u2029\u00a0", r"\u200b\ufeff\u00ad\u2028\u2029\u00a0"),
        ("\udc9b\ud800", r"\udc9b\ud800"),
        ("\U000e0041\u3164\u034f\ufe0f", r"\udb40\udc41\u3164\u034f\ufe0f"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_only_what_is_seen_is_left_and_twice_is_once(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert visible(shown) == shown
    assert visible(text, keep="\n\t").replace("\n", "").replace("\t", "").isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_stays_the_same_json(text: str) -> None:
    written = json.dumps({text: [text]}, ensure_ascii=False, indent=1)
    assert json.loads(inert(visible(written, keep="\n"))) == {text: [text]}


@given(st.lists(st.text(), min_size=1))
def test_a_line_stays_one(lines: list[str]) -> None:
    assert text_of(lines).split("\n") == [visible(each) for each in lines]


def test_wrapped_text_shows_its_newlines() -> None:
    assert wrap("one\ntwo three", 9) == [r"one\ntwo", "three"]


@pytest.mark.parametrize(
    "text", ["::error::x", "  ::stop-commands::x", "a\n::x::", "##[group]x", "a ##vso[x]", "\t::x::"]
)
def test_no_runner_finds_a_command(text: str) -> None:
    said = inert(text)
    assert "##[" not in said
    assert "##vso[" not in said
    assert not any(line.lstrip().startswith("::") for line in said.split("\n"))
    assert inert(said) == said


@pytest.mark.parametrize("text", ["aten::conv", "a: b", "# [x]", "## Title", "x ::y", "### 3"])
def test_what_is_no_command_stays(text: str) -> None:
    assert inert(text) == text


def test_an_error_is_one_line_whatever_it_names() -> None:
    error = InputError("cannot read a\nb", expected="\x1b[2J", received="\u202e", then="x\ry.")
    assert str(error) == r"cannot read a\nb: expected \x1b[2J, received \u202e. x\ry."
    assert error.what == "cannot read a\nb"
