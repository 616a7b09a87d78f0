"""Div, Sub, Neg, Pow, squares and sums of a tensor with itself in the element-wise forms that the DLA takes.

    x / c = x * (1 / c)     -x = x * -1     c - x = x * -1 + c     a - b = a + b * -1     Mean(a, b) = (a + b) * 1/2
    x ** 2 = x * x,  x * x = x * I(x),  x + x = x * 2         with I a depthwise 1x1 convolution of weight 1

The same tensor on both sides of an element-wise layer failed in an author's builds, hence I.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import operand, scaled, squared
from dlaflow.rewrites.draft import Draft, Edit, Shape

_NEEDS_IMAGE = "a square needs (N, C, H, W) for its identity convolution"


class Arithmetic(Rewrite):
    """Div, Sub, Neg, Pow, x*x and Mean become Mul and Add."""

    id = "arithmetic"
    answers = ("DLA180", "DLA182", "DLA270", "DLA284")
    operators = ("Div", "Sub", "Neg", "Pow", "Mul", "Add", "Mean", "Abs")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        shape = draft.shape(node.output[0])
        if shape is None or not all(draft.is_float(name) for name in node.input):
            return None
        edit = Edit(draft, [node])
        found = _FORMS[node.op_type](edit, node, shape, bounds)
        if found is None or (isinstance(found, str) and not edit.nodes):
            return found
        return edit.finish(found, node.output[0])


def _divide(edit: Edit, node: onnx.NodeProto, shape: Shape, bounds: Bounds) -> str | None:
    divisor = edit.draft.value(node, 1)
    if divisor is None:
        return None
    if not np.all(divisor):
        return "the divisor holds a zero"
    inverse = 1 / np.asarray(divisor, np.float64)
    return edit.add("Mul", [node.input[0], operand(edit, "inverse", inverse, node.input[0])], shape)


def _subtract(edit: Edit, node: onnx.NodeProto, shape: Shape, bounds: Bounds) -> str | None:
    first, second = node.input
    low, high = edit.draft.value(node, 0), edit.draft.value(node, 1)
    alone = bounds.target.mode == "standalone"  # only sums and products become scales
    if high is not None:
        if "SUB" in bounds.names("elementwise.operations") and not alone:
            return None
        return edit.add("Add", [first, operand(edit, "negative", -np.asarray(high, np.float64), first)], shape)
    if "SUB" in bounds.names("elementwise.operations") and low is None:
        return None
    negative = scaled(edit, second, -1.0, 0.0, bounds)
    return edit.add("Add", [negative, first] if low is not None else [first, negative], shape)


def _negate(edit: Edit, node: onnx.NodeProto, shape: Shape, bounds: Bounds) -> str | None:
    return scaled(edit, node.input[0], -1.0, 0.0, bounds)


def _power(edit: Edit, node: onnx.NodeProto, shape: Shape, bounds: Bounds) -> str | None:
    exponent = edit.draft.value(node, 1)
    if exponent is None:
        return None
    power = float(exponent.reshape(-1)[0])
    if power not in (2.0, 3.0) or not np.all(exponent == power) or shape != edit.draft.shape(node.input[0]):
        return f"only squares and cubes have a form, not the power {power:g}"
    x = node.input[0]
    square = _square(edit, x)
    if square is None:
        return _NEEDS_IMAGE
    return square if power == 2 else edit.add("Mul", [square, x], shape)


def _multiply(edit: Edit, node: onnx.NodeProto, shape: Shape, bounds: Bounds) -> str | None:
    if len(node.input) != 2 or node.input[0] != node.input[1]:
        return None
    return _square(edit, node.input[0]) or _NEEDS_IMAGE


def _add(edit: Edit, node: onnx.NodeProto, shape: Shape, bounds: Bounds) -> str | None:
    if len(node.input) != 2 or node.input[0] != node.input[1]:
        return None
    return scaled(edit, node.input[0], 2.0, 0.0, bounds)


def _mean(edit: Edit, node: onnx.NodeProto, shape: Shape, bounds: Bounds) -> str | None:
    total = node.input[0]
    if len(node.input) < 2 or any(edit.draft.shape(name) != shape for name in node.input):
        return None
    for name in node.input[1:]:
        total = edit.add("Add", [total, name], shape)
    return scaled(edit, total, 1 / len(node.input), 0.0, bounds)


def _absolute(edit: Edit, node: onnx.NodeProto, shape: Shape, bounds: Bounds) -> str | None:
    if bounds.limit("unary.operations") is not None:
        return None
    x = node.input[0]
    return edit.add("Max", [x, scaled(edit, x, -1.0, 0.0, bounds)], shape)


def _square(edit: Edit, x: str) -> str | None:
    image = edit.shape(x)
    return None if image is None or len(image) != 4 else squared(edit, x)


_FORMS: dict[str, Callable[[Edit, onnx.NodeProto, Shape, Bounds], str | None]] = {
    "Div": _divide,
    "Sub": _subtract,
    "Neg": _negate,
    "Pow": _power,
    "Mul": _multiply,
    "Add": _add,
    "Mean": _mean,
    "Abs": _absolute,
}
