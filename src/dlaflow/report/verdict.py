"""The answer in one sentence: does it stay on the DLA?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.units import count, percent
from dlaflow.rules.model import FixedInputs
from dlaflow.types import Finding, Measurement, Placement, Summary

_NEARLY_ALL = 0.995
PRECISIONS = ("fp32", "fp16", "int8")


class Status(str, Enum):
    """The state of a variant, best first."""

    WHOLE = "whole"
    ONE = "one"
    CUT = "cut"
    NONE = "none"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of a variant, a few words for a badge, and a sentence."""

    status: Status
    badge: str
    sentence: str


def answer(variant: Variant) -> Answer:
    """What to say of one variant."""
    placement = variant.placement
    if placement is None and variant.measurements:
        return Answer(Status.UNCHECKED, "measured", f"{variant.name} was measured; nothing was predicted of it.")
    if placement is None:
        return Answer(Status.UNCHECKED, "not checked", f"{variant.name} was not checked.")
    summary = placement.summary
    share = percent(summary.dla_mac_share)
    if summary.dla_mac_share is None:
        unsized = opening(placement)
        why = unsized.message if unsized else "sizes inside it follow from data or from an unknown operator"
        sentence = f"How much of {variant.name} runs on the DLA is not known: {why}."
        return Answer(Status.UNCHECKED, "not known", sentence)
    if not summary.loadables:
        return Answer(Status.NONE, "not on the DLA", f"Nothing of {variant.name} runs on the DLA.")
    caveat = f"; {count(summary.unknown_layers, 'layer')} could not be decided" if summary.unknown_layers else ""
    if summary.loadables == 1 and not summary.gpu_layers:
        sentence = f"{variant.name} runs wholly on the DLA, in one loadable{caveat}."
        return Answer(Status.WHOLE, "all on the DLA", sentence)
    tail = f"{count(summary.switches, 'switch')} and {share} of the multiply-accumulates on the DLA{caveat}."
    if summary.loadables == 1:
        return Answer(Status.ONE, "1 loadable", f"{variant.name} runs in one DLA loadable, with {tail}")
    sentence = f"{variant.name} is cut into {summary.loadables} DLA loadables, with {tail}"
    return Answer(Status.CUT, f"{summary.loadables} loadables", sentence)


def opening(placement: Placement) -> Finding | None:
    """The finding that inputs leave their size open; None when all sizes are known."""
    return next((finding for finding in placement.findings if finding.rule == FixedInputs.id), None)


def headline(run: RunRecord) -> str:
    """The one sentence at the top of a report: the best variant, and what the worst one loses against it.

    Where not all were predicted, it is the first that their comparison says.
    """
    checked = [(variant, variant.placement) for variant in run.variants if variant.placement]
    if run.comparisons and len(checked) < len(run.variants):
        from dlaflow.report import comparison_text

        return next(comparison_text.sentences(run.comparisons[0]))
    if not checked:
        sentences = [answer(variant).sentence for variant in run.variants if variant.measurements]
        return " ".join(sentences) or "Nothing was checked in this run."
    ranked = sorted(checked, key=lambda pair: rank(pair[1]))
    best, worst = ranked[0], ranked[-1]
    few, many = best[1].summary.loadables, worst[1].summary.loadables
    if len(ranked) == 1 or few == many or not few:
        return answer(best[0]).sentence
    lost = f"{worst[0].name} is cut into {many}" if many else f"nothing of {worst[0].name} runs on the DLA"
    return f"{best[0].name} {_short(best[1].summary)}; {lost}."


def _short(summary: Summary) -> str:
    if summary.loadables == 1 and not summary.gpu_layers:
        return "runs wholly on the DLA, in one loadable"
    where = "runs in one DLA loadable" if summary.loadables == 1 else f"has {summary.loadables} DLA loadables"
    share = summary.dla_mac_share
    rest = "" if share is not None and share >= _NEARLY_ALL else f", {percent(share)} of the work on the DLA"
    return f"{where} with {count(summary.switches, 'switch')}{rest}"


def rank(placement: Placement) -> tuple[bool, int, int, float]:
    """A key that sorts the best placement first: something on the DLA, few loadables, few switches, many MACs."""
    summary = placement.summary
    return (not summary.loadables, summary.loadables, summary.switches, -(summary.dla_mac_share or 0.0))


def number(variant: Variant, quantity: str, subject: str) -> Measurement | None:
    """The variant's measurement of that quantity (`top1`) and subject (`int8`); percents come as shares of 0..1."""
    found = next((m for m in variant.measurements if (m.quantity, m.subject) == (quantity, subject)), None)
    if found is None or found.unit != "%":
        return found
    spread, low, high = (None if part is None else part / 100 for part in (found.spread, found.low, found.high))
    return replace(found, value=found.value / 100, spread=spread, unit="", low=low, high=high)
