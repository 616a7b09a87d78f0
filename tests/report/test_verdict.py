"""The sentences that a person reads first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.units import byte_size, count, percent, si
from dlaflow.report.verdict import Status, answer, headline, number
from dlaflow.types import Measurement


def test_the_walkthrough(walkthrough: RunRecord) -> None:
    assert headline(walkthrough) == (
        "model_bn_avgpool runs wholly on the DLA, in one loadable; model_gn is cut into 6."
    )
    assert [answer(variant).status for variant in walkthrough.variants] == [Status.CUT, Status.CUT, Status.WHOLE]
    assert answer(walkthrough.variants[1]).sentence == (
        "model_bn is cut into 2 DLA loadables, with 2 switches and 100% of the multiply-accumulates on the DLA."
    )


def changed(variant: Variant, **values: int | float) -> Variant:
    assert variant.placement is not None
    return replace(variant, placement=replace(variant.placement, summary=replace(variant.placement.summary, **values)))


def test_what_is_not_known_is_said(walkthrough: RunRecord) -> None:
    unknown = changed(walkthrough.variants[2], unknown_layers=2)
    assert "2 layers could not be decided" in answer(unknown).sentence


def test_nothing_on_the_dla(walkthrough: RunRecord) -> None:
    nothing = changed(walkthrough.variants[0], loadables=0, dla_layers=0)
    assert answer(nothing).status is Status.NONE
    run = replace(walkthrough, variants=[nothing, walkthrough.variants[1]])
    assert headline(run) == "model_bn has 2 DLA loadables with 2 switches; nothing of model_gn runs on the DLA."
    assert headline(replace(walkthrough, variants=[nothing])) == "Nothing of model_gn runs on the DLA."


def test_a_run_without_check() -> None:
    run = RunRecord("r", "", variants=[Variant("a")])
    assert headline(run) == "Nothing was checked in this run."
    assert answer(run.variants[0]).status is Status.UNCHECKED


def test_percents_come_as_shares() -> None:
    variant = Variant("a", measurements=[Measurement("top1", "int8", 74.5, "%", 100, 0.9)])
    measured = number(variant, "top1", "int8")
    assert measured is not None
    assert (measured.value, measured.spread) == (pytest.approx(0.745), pytest.approx(0.009))
    assert number(variant, "top1", "fp32") is None


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0%"), (1, "100%"), (0.99999, "99.9%"), (0.00001, "0.1%"), (0.5, "50.0%"), (0.745, "74.5%")]
)
def test_only_all_is_a_hundred_percent(share: float, text: str) -> None:
    assert percent(share) == text


def test_units() -> None:
    assert (count(1, "switch"), count(2, "switch"), count(0, "epoch")) == ("1 switch", "2 switches", "0 epochs")
    assert (si(12), si(1570), si(999_999_999), si(4.1e9)) == ("12 ", "1.57 k", "1 G", "4.1 G")
    assert (byte_size(12), byte_size(65536), byte_size(3 << 30)) == ("12 B", "64 KiB", "3 GiB")
