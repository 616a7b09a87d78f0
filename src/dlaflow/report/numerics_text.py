"""What `evaluate --numerics dla` found, as text."""

from __future__ import annotations

from collections import Counter

from dlaflow.api.numerics import Difference, IntegerNumerics
from dlaflow.quantize.accuracy import Accuracy
from dlaflow.report.units import percent

_MOST_LISTED = 8


def numerics_text(found: IntegerNumerics) -> list[str]:
    """The outputs, the INT8 tensors, the accuracy of both ways, and what was not computed in integers."""
    lines = [f"In the DLA's integers, beside onnxruntime's Q/DQ, on {found.description}:"]
    lines += [f"  output {_difference(each)}" for each in found.outputs]
    if found.tensors:
        lines.append(f"  {_difference(found.inner)} (first batch, {len(found.tensors)} tensors)")
        worst = max(found.tensors, key=lambda each: each.share)
        if worst.different:
            lines.append(f"  most of all {_difference(worst)}")
    for agreement in found.agreements:
        same = f", the same {agreement.what} for {percent(agreement.same.value)}" if agreement.same else ""
        error = percent(agreement.relative_error.value)
        lines.append(f"  output {agreement.output}: cosine {agreement.cosine.value:.6f}, relative error {error}{same}")
    if found.exact is not None and found.reference is not None:
        lines.append(f"  top-1: {_top1(found.exact)} in integers, {_top1(found.reference)} by onnxruntime")
    layers = found.layers
    counts = (len(layers.integer), "in integers"), (len(layers.table), "by table"), (len(layers.floating), "in floats")
    lines.append("Layers: " + ", ".join(f"{number} {how}" for number, how in counts))
    reasons = Counter(layers.floating.values())
    lines += [f"  {count} x {reason}" for reason, count in reasons.most_common(_MOST_LISTED)]
    if len(reasons) > _MOST_LISTED:
        lines.append(f"  and {len(reasons) - _MOST_LISTED} more reasons (--json holds all)")
    return lines


def _difference(each: Difference) -> str:
    largest = f"by {each.largest:.3g} at most" if each.steps is None else f"by {each.steps} steps at most"
    found = f"{each.tensor}: {percent(each.share)} of {each.values:,} values differ"
    return f"{found}, {largest}" if each.different else found


def _top1(accuracy: Accuracy) -> str:
    low, high = accuracy.interval
    return f"{percent(accuracy.top1)} ({percent(low)} to {percent(high)})"
