"""Runs side by side: what got worse is found, and what cannot be compared is never passed over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dlaflow.api.runs import load_runs
from dlaflow.errors import InputError, UsageError
from dlaflow.report.compare import Limit, Worse, merge, parse_limit, regressions
from dlaflow.report.json import placement_json, run_json
from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.text import escape, run_markdown
from dlaflow.types import Measurement

ALL = [Limit(kind) for kind in Worse]


def one(run: RunRecord, at: int, name: str = "m") -> RunRecord:
    return replace(run, name=f"run{at}", variants=[replace(run.variants[at], name=name)])


def test_better_and_equal_are_no_regressions(walkthrough: RunRecord) -> None:
    assert regressions(walkthrough, walkthrough, ALL) == []
    assert regressions(one(walkthrough, 0), one(walkthrough, 2), ALL) == []


def test_worse_is_found_with_both_values(walkthrough: RunRecord) -> None:
    found = regressions(one(walkthrough, 2), one(walkthrough, 0), ALL)
    assert [(each.what, each.before, each.after) for each in found] == [
        ("more switches", "0", "10"),
        ("more loadables", "1", "6"),
        ("lower fp32 accuracy", "74.5%", "71.2%"),
        ("lower fp16 accuracy", "74.5%", "71.2%"),
        ("lower int8 accuracy", "74.1%", "70.8%"),
        ("slower", "0.6 ms", "3.2 ms"),
    ]


def accuracy(value: float) -> RunRecord:
    return RunRecord(
        "r", "", variants=[Variant("a", measurements=[Measurement("top1", "int8", value, "%", 1000, 1.0)])]
    )


@pytest.mark.parametrize(
    ("text", "drop", "worse"),
    [
        ("accuracy", 1.4, False),
        ("accuracy", 1.5, True),
        ("accuracy=0.5", 0.5, False),
        ("accuracy=0.5", 0.6, True),
        ("accuracy=0", 0.1, True),
    ],
)
def test_accuracy_within_noise_or_points(text: str, drop: float, worse: bool) -> None:
    assert bool(regressions(accuracy(80), accuracy(80 - drop), [parse_limit(text)])) is worse


def timed(value: float, unit: str = "ms") -> RunRecord:
    return RunRecord("r", "", variants=[Variant("a", measurements=[Measurement("latency", "int8", value, unit, 1)])])


def test_slower_by_percent() -> None:
    limit = parse_limit("slower=5%")
    assert regressions(timed(1.0), timed(1.05), [limit]) == []
    assert regressions(timed(1.0), timed(1.06), [limit])
    with pytest.raises(InputError, match="cannot be compared"):
        regressions(timed(1.0), timed(1.0, "s"), [limit])


@pytest.mark.parametrize("kind", list(Worse))
def test_a_missing_number_is_an_error(walkthrough: RunRecord, kind: Worse) -> None:
    bare = RunRecord("bare", "", variants=[Variant("m")])
    with pytest.raises(InputError, match="cannot be compared"):
        regressions(one(walkthrough, 0), bare, [Limit(kind)])


def test_a_missing_variant_is_an_error(walkthrough: RunRecord) -> None:
    with pytest.raises(InputError, match="model_gn"):
        regressions(walkthrough, replace(walkthrough, variants=walkthrough.variants[1:]), ALL)


@pytest.mark.parametrize("text", ["switch", "switches=2", "slower=x", "accuracy=-1", "accuracy=nan", "slower=inf", ""])
def test_wrong_limits(text: str) -> None:
    with pytest.raises(UsageError):
        parse_limit(text)


def test_merging_names_the_runs(walkthrough: RunRecord) -> None:
    merged = merge([walkthrough, walkthrough], "now")
    assert [variant.name for variant in merged.variants][::3] == ["walkthrough#1/model_gn", "walkthrough#2/model_gn"]
    assert merged.name == "walkthrough#1 vs walkthrough#2"


def test_reading_folders_and_files(tmp_path: Path, walkthrough: RunRecord) -> None:
    folder = tmp_path / "branch"
    folder.mkdir()
    (folder / "run.json").write_bytes(run_json(walkthrough))
    assert [each.run for each in load_runs([folder, folder / "run.json"])] == [
        replace(walkthrough, name="branch"),
        walkthrough,
    ]
    placement = walkthrough.variants[0].placement
    assert placement is not None
    (tmp_path / "before.json").write_bytes(placement_json(placement))
    assert load_runs([tmp_path / "before.json"])[0].run.variants == [Variant("m", placement=placement)]
    for wrong in (tmp_path, tmp_path / "absent.json"):
        with pytest.raises(InputError, match="is no run"):
            load_runs([wrong])


def test_markdown(walkthrough: RunRecord) -> None:
    text = run_markdown(walkthrough, regressions(one(walkthrough, 2), one(walkthrough, 0), [Limit(Worse.SWITCHES)]))
    assert "| model\\_gn | 6 | 10 | 100% | 71.2% (70.4 to 72.0%) | 71.2% (70.4 to 72.0%) | 70.8%" in text
    assert "- m: more switches, 0 → 10" in text
    assert "No regression." in run_markdown(walkthrough, [])
    assert "regression" not in run_markdown(walkthrough)


def test_markdown_shows_hostile_names_as_text(hostile_run: RunRecord) -> None:
    text = run_markdown(hostile_run)
    assert "\\<script\\>" in text
    row = next(line for line in text.splitlines() if line.startswith("| \\<script"))
    assert row.count(" | ") == 3
    assert escape("a|b\n@c") == "a\\|b \\@c"
