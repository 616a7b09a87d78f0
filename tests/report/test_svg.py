"""The picture of the strips is well-formed whatever the names are, and has one shape for each run and switch."""

from __future__ import annotations

from xml.etree import ElementTree

from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.strip import strips_svg

SPACE = "{http://www.w3.org/2000/svg}"


def shapes(picture: str, kind: str) -> int:
    return sum(rect.get("class") == kind for rect in ElementTree.fromstring(picture).iter(f"{SPACE}rect"))


def test_the_walkthrough(walkthrough: RunRecord) -> None:
    picture = strips_svg(walkthrough)
    assert (shapes(picture, "dla"), shapes(picture, "gpu"), shapes(picture, "switch")) == (6 + 2 + 1, 5 + 1, 10 + 2)
    assert "model_bn_avgpool" in picture
    assert "6 loadables, 10 switches" in picture


def test_hostile_names(hostile_run: RunRecord) -> None:
    root = ElementTree.fromstring(strips_svg(hostile_run))
    assert root.find(f"{SPACE}text").text.startswith("<script>")
    assert list(root.iter(f"{SPACE}script")) == []


def test_nothing_checked() -> None:
    assert shapes(strips_svg(RunRecord("r", "", variants=[Variant("a")])), "dla") == 0
