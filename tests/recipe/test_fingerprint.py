"""A fingerprint tells apart whatever changes the outcome, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.errors import InputError
from dlaflow.recipe.fingerprint import code_version, fingerprint

NAMES = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)


@settings(deadline=None, max_examples=60)
@given(NAMES, NAMES)
def test_options_are_told_apart(first: dict[str, str], second: dict[str, str]) -> None:
    assert (fingerprint(first, {}, ()) == fingerprint(second, {}, ())) is (first == second)


def test_the_order_does_not_matter() -> None:
    assert fingerprint({"a": "1", "b": "2"}, {}, ("zoo", "graph")) == fingerprint(
        {"b": "2", "a": "1"}, {}, ("graph", "zoo")
    )


def test_inputs_count_by_content_and_name(tmp_path: Path) -> None:
    one, two, other = tmp_path / "one", tmp_path / "two", tmp_path / "other"
    one.write_text("same")
    two.write_text("same")
    other.write_text("different")
    assert fingerprint({}, {"x": one}, ()) == fingerprint({}, {"x": two}, ())
    assert fingerprint({}, {"x": one}, ()) != fingerprint({}, {"y": one}, ())
    assert fingerprint({}, {"x": one}, ()) != fingerprint({}, {"x": other}, ())
    with pytest.raises(InputError, match="absent"):
        fingerprint({}, {"x": tmp_path / "absent"}, ())


def test_code_versions() -> None:
    assert len(code_version("recipe")) == 64
    assert code_version("recipe") != code_version("report")
    assert code_version("onnx")[0].isdigit()
    assert code_version("no-such-distribution") == ""
    assert fingerprint({}, {}, ("recipe",)) != fingerprint({}, {}, ("report",))
