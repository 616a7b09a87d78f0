"""A fingerprint tells apart whatever changes the outcome, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dlaflow
from dlaflow.errors import InputError
from dlaflow.recipe.fingerprint import code_hash, distribution_version, fingerprint

NAMES = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)


@settings(deadline=None, max_examples=60)
@given(NAMES, NAMES)
def test_options_are_told_apart(first: dict[str, str], second: dict[str, str]) -> None:
    assert (fingerprint(first, {}, ()) == fingerprint(second, {}, ())) is (first == second)


def test_the_order_does_not_matter() -> None:
    assert fingerprint({"a": "1", "b": "2"}, {}, ("onnx", "numpy")) == fingerprint(
        {"b": "2", "a": "1"}, {}, ("numpy", "onnx")
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


def test_every_source_counts(tmp_path: Path) -> None:
    """Any change of any source or data file of dlaflow makes every step stale; what Python leaves behind does not."""
    copy = tmp_path / "dlaflow"
    shutil.copytree(Path(dlaflow.__file__).parent, copy)
    before = code_hash(copy)
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "__pycache__" / "x.pyc").write_bytes(b"1")
    for name in (
        "quantize/numerics.py",
        "graph/lower/release.py",
        "targets/limits.toml",
        "report/templates/report.css",
    ):
        code_hash.cache_clear()
        with (copy / name).open("a") as file:
            file.write("\n")
        after = code_hash(copy)
        assert after != before
        before = after
    code_hash.cache_clear()
    (copy / "__pycache__" / "x.pyc").write_bytes(b"2")
    assert code_hash(copy) == before


def test_versions_of_distributions() -> None:
    assert distribution_version("onnx")[0].isdigit()
    assert distribution_version("no-such-distribution") == ""
    assert fingerprint({}, {}, ("onnx",)) != fingerprint({}, {}, ("numpy",))
