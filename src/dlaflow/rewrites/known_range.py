"""What is known of a tensor's values before run time: the smallest and the largest that its operators can give."""

from __future__ import annotations

from math import inf, isnan

import onnx

from dlaflow.rewrites.draft import Draft, number
from dlaflow.rewrites.transposed import BINARY, UNARY

Range = tuple[float, float]
CLIP_WITH_INPUTS_SINCE = 11
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
_OF_SEVERAL = frozenset({"Concat", "Max", "Min", "Add", "Mul"})
_DEPTH = 12
"""Operators in a row that are looked at: what is known comes from close by."""
_HIGHEST_EXPONENT = 11.0
"""exp(11) is still a number of FP16."""
_HANDS_ON = UNARY | BINARY | _PASSES | {"Concat", "Where", "Expand", "Tile", "Cast", "Gather", "Pad", "Sum"}


def known_range(draft: Draft, name: str) -> Range:
    """The interval that holds all values of a tensor, open where nothing is known."""
    return _known(draft, name, _DEPTH, {})


def _known(draft: Draft, name: str, depth: int, seen: dict[str, Range]) -> Range:
    if name not in seen:
        seen[name] = _ANYTHING
        seen[name] = _found(draft, name, depth, seen)
    return seen[name]


def _found(draft: Draft, name: str, depth: int, seen: dict[str, Range]) -> Range:
    value, node = draft.weights.get(name), draft.producers.get(name)
    if value is not None and value.size and value.dtype.kind == "f" and (value.size == 1 or any(value.strides)):
        return float(value.min()), float(value.max())  # weights that were not read have no strides
    if node is None or node.domain not in ("", "ai.onnx") or not depth:
        return _ANYTHING
    if node.op_type in _FIXED:
        return _FIXED[node.op_type]
    if node.op_type not in _PASSES | _OF_SEVERAL | {"Relu", "Clip"}:
        return _ANYTHING
    data = node.input if node.op_type in _OF_SEVERAL else node.input[:1]
    known = [_known(draft, each, depth - 1, seen) for each in data]
    if node.op_type in _PASSES:
        return known[0]
    if node.op_type in _OF_SEVERAL:
        return _of_several(node.op_type, known)
    limits = (0.0, None) if node.op_type == "Relu" else clip_range(draft, node)
    if limits is None:
        return _ANYTHING
    low, high = (default if end is None else end for end, default in zip(limits, _ANYTHING, strict=True))
    return min(max(known[0][0], low), high), min(max(known[0][1], low), high)


def _of_several(op: str, known: list[Range]) -> Range:
    lows, highs = [each[0] for each in known], [each[1] for each in known]
    if op == "Concat":
        return min(lows), max(highs)
    if op in ("Max", "Min"):
        choose = max if op == "Max" else min
        return choose(lows), choose(highs)
    if op == "Add":
        return sum(lows), sum(highs)
    ends = [a * b for a in known[0] for b in known[1]]
    if any(isnan(each) for each in ends):  # zero times infinity
        return (0.0, inf) if min(lows) >= 0 else _ANYTHING
    return min(ends), max(ends)


def may_overflow(draft: Draft, name: str, depth: int = _DEPTH) -> str:
    """The operator close above a tensor that can give an infinity or nan for numbers; empty where there is none."""
    node, ends = draft.producers.get(name), known_range(draft, name)
    if node is None or node.domain not in ("", "ai.onnx") or not depth or node.op_type not in _HANDS_ON:
        return ""
    low, high = known_range(draft, node.input[-1])
    within = {
        "Exp": high <= _HIGHEST_EXPONENT, "Log": low > 0, "Sqrt": low >= 0, "Reciprocal": low > 0 or high < 0,
        "Div": low > 0 or high < 0, "Pow": low == high and low >= 0 and low % 1 == 0,
    }  # fmt: skip
    if not within.get(node.op_type, True):
        return node.op_type
    if inf not in (-ends[0], ends[1]):
        return ""
    return next((found for each in node.input if (found := may_overflow(draft, each, depth - 1))), "")


def clip_range(draft: Draft, node: onnx.NodeProto) -> tuple[float | None, float | None] | None:
    """The two bounds of a Clip, each None when it is open; None when one is computed or empty."""
    if draft.opset < CLIP_WITH_INPUTS_SINCE:
        low, high = number(node, "min", -3.4e38), number(node, "max", 3.4e38)
        return (None if low <= -3.4e38 else low), (None if high >= 3.4e38 else high)
    found: list[float | None] = []
    for index in (1, 2):
        value = draft.value(node, index)
        if (value is None and index < len(node.input) and node.input[index]) or (value is not None and not value.size):
            return None
        number_found = None if value is None else float(value.reshape(-1)[0])
        found.append(None if number_found is None or abs(number_found) >= 3.4e38 else number_found)
    return found[0], found[1]
