"""The page as text: self-contained, under a policy, complete. What it does in a browser stands in test_browser.py."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from dlaflow.placement.switches import Edge
from dlaflow.report.accuracy import damage_rows
from dlaflow.report.graph import graph_data
from dlaflow.report.html import render
from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.tradeoff import tradeoff_of


def test_nothing_comes_from_outside(walkthrough: RunRecord) -> None:
    page = render(walkthrough)
    assert re.findall(r"(?:src|href)=\"(?!#)", page) == []
    assert "@import" not in page
    assert "url(" not in page
    assert re.findall(r"\sstyle=", page) == []
    assert re.findall(r"\son\w+=", page) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert "unsafe" not in policy.group(1)
    assert policy.group(1).startswith("default-src &#39;none&#39;")


def test_the_same_run_gives_the_same_page(walkthrough: RunRecord) -> None:
    assert render(walkthrough) == render(walkthrough)


def test_numbers_findings_and_notices_are_there(walkthrough: RunRecord) -> None:
    page = render(replace(walkthrough, notices=["CIFAR-10 CANNOT BE HAD"]))
    for text in ("CIFAR-10 CANNOT BE HAD", "74.1%", "×4", "BatchNorm, which folds", "640 KiB", "TensorRT 8.5.2"):
        assert text in page


def test_a_single_variant_and_an_empty_run(walkthrough: RunRecord) -> None:
    assert "At a glance" not in render(replace(walkthrough, variants=walkthrough.variants[:1]))
    assert "Nothing was checked" in render(RunRecord("empty", ""))
    assert "not checked" in render(RunRecord("bare", "", variants=[Variant("a")]))


def test_graph_data(walkthrough: RunRecord) -> None:
    variant = walkthrough.variants[0]
    graph = json.loads(graph_data({"v0": variant}))["v0"]
    assert graph["nodes"][2]["path"] == ["cnn", "cnn.1"]
    assert graph["nodes"][2]["leaf"] == "InstanceNormalization"
    assert graph["edges"][:2] == [[0, 1], [1, 2]]
    assert variant.placement is not None
    alone = replace(variant.placement, switches=[])
    strange = replace(variant, placement=alone, edges=[Edge("nobody", "/linear/Gemm", "t")])
    assert json.loads(graph_data({"v0": strange}))["v0"]["edges"] == []
    assert graph_data({"v0": replace(variant, edges=[])}) == ""


def test_graph_data_cannot_end_its_block(hostile_run: RunRecord) -> None:
    text = graph_data({"v0": hostile_run.variants[0]})
    assert not set("<>&") & set(text)
    assert any("</script>" in node["name"] for node in json.loads(text)["v0"]["nodes"])


def test_what_int8_hurts_comes_worst_first(walkthrough: RunRecord) -> None:
    rows = damage_rows(walkthrough.variants[0])
    assert [(row.layer, row.share) for row in rows] == [("/cnn/cnn.3/Conv", 1.0), ("/cnn/cnn.0/Conv", 0.25)]
    assert damage_rows(Variant("a")) == []
    assert len(damage_rows(walkthrough.variants[0], most=1)) == 1


def test_tradeoff(walkthrough: RunRecord) -> None:
    plot = tradeoff_of(walkthrough.variants)
    assert plot is not None
    slow, middle, fast = plot.points
    assert fast.x < middle.x < slow.x
    assert fast.y < slow.y, "more accurate is higher up"
    assert plot.front == f"{fast.x},{fast.y}", "the fast one beats the others in both"
    assert fast.x_low < fast.x < fast.x_high
    assert tradeoff_of(walkthrough.variants[:1]) is None
