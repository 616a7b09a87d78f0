"""HardSwish, HardSigmoid, bounded Clip and LeakyRelu in forms that the release takes.

HardSigmoid(x) = Clip(alpha x + beta, 0, 1)           HardSwish(x) = x * Clip(x + 3, 0, 6) / 6
A clamp whose ends its input never passes (known_range.py) is none.

Clip(x, low, high) = Min(Max(x, low), high)           LeakyRelu(x) = Max(x, alpha x)   for 0 <= alpha <= 1
"""

from __future__ import annotations

from math import inf

import numpy as np
import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import operand, scalar, scaled
from dlaflow.rewrites.draft import Draft, Edit, Shape, number
from dlaflow.rewrites.known_range import CLIP_WITH_INPUTS_SINCE, clip_range, known_range
from dlaflow.rewrites.motions import bypassed


def clip(edit: Edit, x: str, low: float, high: float, shape: Shape, like: str) -> str:
    """Append a Clip in the form of the draft's opset."""
    if edit.draft.opset < CLIP_WITH_INPUTS_SINCE:
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
        alpha, beta = number(node, "alpha", 0.2), number(node, "beta", 0.5)
        shifted = scaled(edit, x, alpha, beta, bounds)
        ends = [alpha * end + beta for end in known_range(draft, x)]
        if min(ends) >= 0 and max(ends) <= 1 and edit.nodes:
            return edit.finish(shifted, node.output[0])  # x never reaches the ends
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


class IdleClamp(Rewrite):
    """Relu, Clip, Max, Min and Abs that change no value which their input can have are left out."""

    id = "idle-clamp"
    answers = ("DLA170", "DLA171", "DLA180")
    operators = ("Relu", "Clip", "Max", "Min", "Abs")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        x, (low, high) = node.input[0], (-inf, inf)
        if node.op_type in ("Relu", "Abs"):
            low = 0.0
        elif node.op_type == "Clip":
            limits = clip_range(draft, node)
            if limits is None:
                return None
            low, high = (default if end is None else end for end, default in zip(limits, (-inf, inf), strict=True))
        else:
            data = [name for name in node.input if name not in draft.weights]
            others = [known_range(draft, name) for name in node.input if name in draft.weights]
            if len(data) != 1 or not others or draft.shape(data[0]) != draft.shape(node.output[0]):
                return None
            x = data[0]
            low = max(end[1] for end in others) if node.op_type == "Max" else low
            high = min(end[0] for end in others) if node.op_type == "Min" else high
        known = known_range(draft, x)
        if not draft.is_float(x) or not low <= known[0] <= known[1] <= high or known == (-inf, inf):
            return None
        return bypassed(draft, Edit(draft, [node]), x, node.output[0])


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
