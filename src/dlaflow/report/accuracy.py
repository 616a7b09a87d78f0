"""Accuracies as intervals on one axis, and the facts beside them."""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.report.interval import ends, told_share
from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.units import percent
from dlaflow.report.verdict import PRECISIONS, number


def accuracy_scale(run: RunRecord) -> tuple[float, float]:
    """One accuracy axis for all variants, so that their intervals can be compared by eye."""
    shown = [m for variant in run.variants for name in PRECISIONS if (m := number(variant, "top1", name))]
    low = min((ends(m)[0] for m in shown), default=0.0)
    high = max((ends(m)[1] for m in shown), default=1.0)
    margin = max(high - low, 0.02) * 0.15
    return max(low - margin, 0.0), min(high + margin, 1.0)


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """One precision: its value (a share of 0..1) with its interval, and low, mid and high as shares of the axis."""

    precision: str
    value: float
    interval: str
    low: float
    mid: float
    high: float
    text: str


def accuracy_rows(variant: Variant, scale: tuple[float, float]) -> list[AccuracyRow]:
    """The rows of a variant on an axis that goes from `scale[0]` to `scale[1]`."""
    rows = []
    for precision in PRECISIONS:
        measured = number(variant, "top1", precision)
        if measured is None:
            continue
        first, last = ends(measured)
        along = ((share - scale[0]) / (scale[1] - scale[0]) for share in (first, measured.value, last))
        low, mid, high = (min(max(share, 0.0), 1.0) for share in along)
        interval = told_share(measured)
        text = f"{precision}: {percent(measured.value)}, {interval or 'no interval'}, of {measured.n:,} images"
        rows.append(AccuracyRow(precision, measured.value, interval, low, mid, high, text))
    return rows


@dataclass(frozen=True, slots=True)
class DamageRow:
    """What INT8 in one layer alone does to the output; `share` is relative to the worst layer."""

    layer: str
    share: float
    text: str


def damage_rows(variant: Variant, most: int = 6) -> list[DamageRow]:
    """The layers that INT8 hurts most, worst first."""
    found = sorted((m for m in variant.measurements if m.quantity == "sensitivity"), key=lambda m: -m.value)
    worst = found[0].value if found else 0.0
    return [DamageRow(m.subject, m.value / worst if worst else 0.0, m.detail) for m in found[:most]]


def accuracy_facts(variant: Variant) -> list[str]:
    """The images behind the numbers, the agreement with fp32, and the speed on this computer."""
    facts = []
    first = next((m for m in variant.measurements if m.quantity == "top1"), None)
    if first:
        facts.append(f"{first.n:,} test images" + (f", {first.detail}" if first.detail else ""))
    for quantity, precisions, what, text in (
        ("agreement", PRECISIONS[1:], "Same answer as fp32", percent),
        ("throughput", PRECISIONS, "Images a second on this computer (not on the board)", "{:,.0f}".format),
    ):
        found = [f"{name} {text(m.value)}" for name in precisions if (m := number(variant, quantity, name))]
        if found:
            facts.append(f"{what}: {', '.join(found)}")
    return facts
