"""Findings of many layers become few, the ones that matter first."""

from __future__ import annotations

from dataclasses import replace

from dlaflow.report.check_text import placement_text
from dlaflow.report.grouping import group_findings, rule_title
from dlaflow.report.records import RunRecord
from dlaflow.types import Finding, TargetInfo, Verdict

TARGET = TargetInfo("agx-orin-64gb", "5.1.1", "8.5.2", "v2", "int8", 1, "hybrid")


def test_counts_and_first_layer(walkthrough: RunRecord) -> None:
    placement = walkthrough.variants[0].placement
    assert placement is not None
    groups = group_findings(placement)
    assert [(group.rule, group.count) for group in groups] == [("DLA601", 4), ("DLA402", 1)]
    assert groups[0].layers[0] == groups[0].first.layer == "/cnn/cnn.1/InstanceNormalization"


def test_order(walkthrough: RunRecord) -> None:
    """Worst verdict first; then what computes before what only moves data, however often the latter appears."""
    placement = walkthrough.variants[0].placement
    assert placement is not None

    def finding(rule: str, layer: str, verdict: Verdict) -> Finding:
        return Finding(rule, layer, verdict, "m", "e", "r", "s", "")

    layers = [
        replace(layer, findings=[finding("M", layer.name, Verdict.FALLBACK)] if layer.kind == "SHUFFLE" else [])
        for layer in placement.layers
    ]
    layers[0] = replace(layers[0], findings=[finding("N", layers[0].name, Verdict.NATIVE)])
    layers[2] = replace(layers[2], findings=[finding("C", layers[2].name, Verdict.FALLBACK)])
    layers[7] = replace(layers[7], findings=[finding("U", layers[7].name, Verdict.UNKNOWN)])
    whole = replace(placement, layers=layers, findings=[finding("W", "", Verdict.UNKNOWN)])
    assert [group.rule for group in group_findings(whole)] == ["C", "M", "U", "W", "N"]


def test_the_limit_of_loadables_stands_behind_what_caused_it(walkthrough: RunRecord) -> None:
    """However many layers it moves: they are told behind every other reason, and before the remarks."""
    placement = walkthrough.variants[0].placement
    assert placement is not None

    def finding(rule: str, layer: str, verdict: Verdict) -> Finding:
        return Finding(rule, layer, verdict, "m", "e", "r", "s", "")

    layers = [replace(each, findings=[finding("DLA010", each.name, Verdict.FALLBACK)]) for each in placement.layers]
    for number, verdict in enumerate((Verdict.NATIVE, Verdict.CONDITIONAL, Verdict.UNKNOWN, Verdict.FALLBACK)):
        layers[number] = replace(layers[number], findings=[finding(verdict.value, layers[number].name, verdict)])
    groups = group_findings(replace(placement, layers=layers, findings=[]))
    assert [group.rule for group in groups] == ["fallback", "unknown", "conditional", "DLA010", "native"]
    assert groups[3].count == len(placement.layers) - 4


def test_the_text_tells_what_speaks_against_a_layer_and_not_a_remark(walkthrough: RunRecord) -> None:
    placement = walkthrough.variants[0].placement
    assert placement is not None
    found = [
        Finding(rule, placement.layers[0].name, verdict, f"about {rule}", "e", "r", "s", "")
        for rule, verdict in (("DLA172", Verdict.NATIVE), ("DLA010", Verdict.FALLBACK))
    ]
    layers = [replace(placement.layers[0], findings=found), *placement.layers[1:]]
    text = placement_text(replace(placement, layers=layers))
    assert "about DLA010" in text
    assert "about DLA172" not in text


def test_a_rule_is_a_sentence_with_its_bound() -> None:
    title = rule_title("DLA110", TARGET)
    assert title.startswith("Convolution kernels")
    assert "1..32" in title
    assert "{" not in title


def test_every_rule_has_a_sentence() -> None:
    from dlaflow.rules.registry import RULES

    for rule in RULES:
        title = rule_title(rule.id, TARGET)
        assert title
        assert "{" not in title


def test_unknown_rules_have_none() -> None:
    assert rule_title("DLA999999", TARGET) == ""
