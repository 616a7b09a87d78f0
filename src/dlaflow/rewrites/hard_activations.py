"""HardSwish, HardSigmoid, bounded Clip and LeakyRelu in forms that the release takes.

HardSigmoid(x) = Clip(alpha x + beta, 0, 1)           HardSwish(x) = x * Clip(x + 3, 0, 6) / 6
Clip(x, low, high) = Min(Max(x, low), high)           LeakyRelu(x) = Max(x, alpha x)   for 0 <= alpha <= 1
"""

from __future__ import annotations

import numpy as np
import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import operand, scalar, scaled
from dlaflow.rewrites.draft import Draft, Edit, Shape, number

_CLIP_WITH_INPUTS_SINCE = 11


def clip(edit: Edit, x: str, low: float, high: float, shape: Shape, like: str) -> str:
    """Append a Clip in the form of the draft's opset."""
    if edit.draft.opset < _CLIP_WITH_INPUTS_SINCE:
        return edit.add("Clip", [x], shape, min=float(low), max=float(high))
    return edit.add("Clip", [x, scalar(edit, "low", low, like), scalar(edit, "high", high, like)], shape)


class HardActivation(Rewrite):
    """HardSwish and HardSigmoid become Clip and Mul."""

    id = "hard-activation"
    answers = ("DLA170",)
    operators = ("HardSwish", "HardSigmoid")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        shape = draft.shape(node.output[0])
        if shape is None:
            return None
        edit, x = Edit(draft, [node]), node.input[0]
        if node.op_type == "HardSwish":
            gate = clip(edit, scaled(edit, x, 1.0, 3.0, bounds), 0.0, 6.0, shape, x)
            return edit.finish(edit.add("Mul", [x, scaled(edit, gate, 1 / 6, 0.0, bounds)], shape), node.output[0])
        shifted = scaled(edit, x, number(node, "alpha", 0.2), number(node, "beta", 0.5), bounds)
        return edit.finish(clip(edit, shifted, 0.0, 1.0, shape, x), node.output[0])


class ClipByElements(Rewrite):
    """A Clip beyond the DLA's range becomes Max and Min."""

    id = "clip"
    answers = ("DLA171",)
    operators = ("Clip",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        shape = draft.shape(node.output[0])
        limits = clip_range(draft, node)
        if shape is None or limits is None:
            return None
        low, high = limits
        largest = bounds.largest("act.clip_max", 127)
        if low == 0 and high is not None and 1 <= high <= largest:
            return None
        edit, x = Edit(draft, [node]), node.input[0]
        if low == 0 and high is None:
            return edit.finish(edit.add("Relu", [x], shape), node.output[0])
        if low is not None:
            x = edit.add("Max", [x, operand(edit, "low", low, node.input[0])], shape)
        if high is not None:
            x = edit.add("Min", [x, operand(edit, "high", high, node.input[0])], shape)
        if not edit.nodes:
            return None
        return edit.finish(x, node.output[0])


def clip_range(draft: Draft, node: onnx.NodeProto) -> tuple[float | None, float | None] | None:
    """The two bounds of a Clip, each None when it is open; None when one is computed or empty."""
    if draft.opset < _CLIP_WITH_INPUTS_SINCE:
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


class LeakyByElements(Rewrite):
    """LeakyRelu and PRelu become Max(x, slope x) where the release lacks them."""

    id = "leaky-relu"
    answers = ("DLA170", "DLA173")
    operators = ("LeakyRelu", "PRelu")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        shape = draft.shape(node.output[0])
        if shape is None:
            return None
        if node.op_type == "LeakyRelu":
            if "LEAKY_RELU" in bounds.names("act.types"):
                return None
            slope = np.asarray(number(node, "alpha", 0.01), np.float64)
        else:
            value = draft.value(node, 1)
            if bounds.limit("prelu.available") is not None or value is None:
                return None
            slope = np.asarray(value, np.float64)
        if float(slope.min()) < 0 or float(slope.max()) > 1:
            return "the slope is not between 0 and 1, so that Max does not choose the right side"
        edit, x = Edit(draft, [node]), node.input[0]
        if slope.size == 1:
            smaller = scaled(edit, x, float(slope.reshape(-1)[0]), 0.0, bounds)
        else:
            smaller = edit.add("Mul", [x, operand(edit, "slope", slope, x)], shape)
        return edit.finish(edit.add("Max", [x, smaller], shape), node.output[0])
