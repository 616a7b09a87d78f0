"""What is known of a tensor's values before run time: the smallest and the largest that its operators can give."""

from __future__ import annotations

from math import inf, isnan

import onnx

from dlaflow.rewrites.draft import Draft
from dlaflow.rewrites.hard_activations import clip_range

Range = tuple[float, float]
_ANYTHING: Range = (-inf, inf)
_FIXED: dict[str, Range] = {
    **dict.fromkeys(("Abs", "Exp", "Sqrt", "Softplus"), (0.0, inf)),
    **dict.fromkeys(("Sigmoid", "HardSigmoid", "Softmax"), (0.0, 1.0)),
    **dict.fromkeys(("Tanh", "Softsign"), (-1.0, 1.0)),
    "HardSwish": (-0.375, inf),
}
_PASSES = frozenset(
    {"MaxPool", "GlobalMaxPool", "GlobalAveragePool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"}
    | {"Slice", "Split", "DepthToSpace", "SpaceToDepth", "Identity"}
)
"""Operators whose every value is one of their first input, or a mean of some."""
_DEPTH = 12
"""Operators in a row that are looked at: what is known comes from close by."""


def known_range(draft: Draft, name: str, depth: int = _DEPTH) -> Range:
    """The interval that holds all values of a tensor, open where nothing is known."""
    value = draft.weights.get(name)
    if value is not None and value.size and value.dtype.kind == "f":
        return float(value.min()), float(value.max())
    node = draft.producers.get(name)
    if node is None or node.domain not in ("", "ai.onnx") or not depth:
        return _ANYTHING
    if node.op_type in _FIXED:
        return _FIXED[node.op_type]
    if node.op_type in _PASSES:
        return known_range(draft, node.input[0], depth - 1)
    if node.op_type in ("Relu", "Clip"):
        limits = (0.0, None) if node.op_type == "Relu" else clip_range(draft, node)
        low, high = known_range(draft, node.input[0], depth - 1)
        if limits is None:
            return _ANYTHING
        ends = [-inf if limits[0] is None else limits[0], inf if limits[1] is None else limits[1]]
        return min(max(low, ends[0]), ends[1]), min(max(high, ends[0]), ends[1])
    return _of_several(node, [known_range(draft, each, depth - 1) for each in node.input])


def _of_several(node: onnx.NodeProto, known: list[Range]) -> Range:
    lows, highs = [each[0] for each in known], [each[1] for each in known]
    if node.op_type == "Concat":
        return min(lows), max(highs)
    if node.op_type in ("Max", "Min"):
        choose = max if node.op_type == "Max" else min
        return choose(lows), choose(highs)
    if node.op_type == "Add":
        return sum(lows), sum(highs)
    if node.op_type == "Mul" and len(known) == 2:
        ends = [a * b for a in known[0] for b in known[1]]
        return (min(ends), max(ends)) if not any(isnan(each) for each in ends) else _products_sign(lows)
    return _ANYTHING


def _products_sign(lows: list[float]) -> Range:
    return (0.0, inf) if min(lows) >= 0 else _ANYTHING
