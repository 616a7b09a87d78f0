"""The gallery: names are hostile, and what is like a model is of its task and size and fits better."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

from dlaflow.cli import main
from dlaflow.survey.page import gallery_markdown, gallery_page, headline, rows_of
from dlaflow.survey.records import Case, Result, Surveyed
from tests.report.made_profiles import HOSTILE
from tests.survey.conftest import made

RESULTS = [
    made("fits", 300, fits=True),
    made("slow", 100, fits=False),
    made("fast", 500, fits=False),
    made("large", 400, fits=True, macs=3 * 10**9),
]


def test_best_first_and_what_is_alike() -> None:
    found = rows_of(RESULTS)
    assert list(found) == ["agx-orin-64gb, JetPack 6.2, INT8, MAXN", "orin-nx-16gb, JetPack 6.2, INT8, MAXN"]
    rows = found["orin-nx-16gb, JetPack 6.2, INT8, MAXN"]
    assert [row.result.model.name for row in rows] == ["large", "fits", "fast", "slow"]
    assert {row.result.model.name: row.alike for row in rows} == {
        "large": (),
        "fits": (),
        "fast": (),  # what fits better is slower
        "slow": ("fits",),  # `large` has three times the arithmetic
    }
    assert headline(RESULTS).startswith("4 models: 0 are one loadable as they are, 2 after")


def test_the_commands_do_what_is_told(place: Path) -> None:
    """A standalone build is promised of what another fix makes: that one stands there too, and all of them run."""
    one = made("models/one.onnx", 300, fits=True)
    assert one.after is not None
    for alone in (False, True):
        result = replace(one, after=replace(one.after, standalone=alone))
        lines = rows_of([result])["orin-nx-16gb, JetPack 6.2, INT8, MAXN"][0].commands()
        assert len(lines) == 2 + alone
        assert any("--output-4d" in line for line in lines) == alone
        for line in lines:
            Path("fixed.onnx").unlink(missing_ok=True)
            assert main(shlex.split(line)[1:]) == 0


def test_nothing_at_all() -> None:
    assert "0 models" in gallery_markdown([])
    assert "<table" in gallery_page([])


def test_hostile_names_stay_text() -> None:
    names = [*HOSTILE, "a|b`c*[x](javascript:1)", "</script><script>alert(1)</script>", "a\nb", "--out=x; rm -rf /"]
    results = [made(name, 100, fits=True, family=name) for name in names]
    results += [Result(Surveyed(name), Case("6.2", "10.3.0", "v2", "int8"), "failed", name) for name in names]
    page = gallery_page(results)
    assert "<script>alert" not in page
    assert page.count("<script") == 2
    data = re.search(r'<script type="application/json" id="graphs">(.*?)</script>', page, re.DOTALL)
    facts = json.loads(data[1])
    assert len(facts) == 2 * len(set(names))
    commands = [command for fact in facts for command in fact["commands"]]
    assert any("'./--out=x; rm -rf /.onnx'" in command for command in commands), "a name is one word of the shell"
    table = gallery_markdown(results)
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert {line.count("|") for line in rows} == {4, 7, 12}, "cells of the three tables, and no more"
    assert "<" not in table


def test_how_many_are_whole_is_told_for_each_target() -> None:
    alone = made("alone", 300, fits=True)
    assert alone.after is not None
    text = gallery_markdown([*RESULTS, replace(alone, after=replace(alone.after, standalone=True))])
    assert "| orin-nx-16gb, JetPack 6.2, INT8, MAXN | 5 | 0 | 3 | 0 | 1 |" in text


def test_what_a_fix_slows_down_is_marked_by_how_sure_that_is() -> None:
    said = "Estimated slower: 300 (270 to 330) -> 100 (90 to 110) images/s; `dlaflow fix --prefer speed` keeps it."
    results = [made("faster", 400, fits=True)]
    for name, clearly in (("surely", True), ("maybe", False)):
        one = made(name, 100, fits=True)
        results.append(replace(one, boards=[replace(each, slower=said, clearly=clearly) for each in one.boards]))
    rows = {row.result.model.name: row for row in rows_of(results)["orin-nx-16gb, JetPack 6.2, INT8, MAXN"]}
    assert {name: row.slower for name, row in rows.items()} == {
        "faster": "",
        "surely": "slower",
        "maybe": "perhaps slower",
    }
    assert sum("--prefer speed" in line for row in rows.values() for line in row.commands()) == 2
    table = gallery_markdown(results)
    assert table.count("| 100 (90 to 110), slower |") == table.count("| 100 (90 to 110), perhaps slower |") == 2
    page = gallery_page(results)
    assert page.count(">slower after fix<") == page.count(">perhaps slower after fix<") == 2
