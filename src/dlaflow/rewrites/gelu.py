"""GELU → x times a sigmoid of a cubic, from the form with tanh.

    GELU(x) = x (1 + erf(x / sqrt 2)) / 2  ~  x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
                                           =  x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))

The two differ by at most 4.8e-4 anywhere (found on a grid of -10..10 in steps of 1e-4). The square goes through a
depthwise convolution that copies, since an element-wise layer wants two tensors.
"""

from __future__ import annotations

import math

import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite, Safety
from dlaflow.rewrites.building_blocks import affine, squared
from dlaflow.rewrites.draft import Draft, Edit

LARGEST_ERROR = 4.8e-4
_SLOPE = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715


class GeluBySigmoid(Rewrite):
    """GELU becomes x times a sigmoid, within 4.8e-4."""

    id = "gelu"
    answers = ("DLA170", "DLA270", "DLA180")
    safety = Safety.TOLERANCE
    operators = ("Gelu", "Erf")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        found = _written_out(draft, node) if node.op_type == "Erf" else (node.input[0], node.output[0], [node])
        if found is None:
            return None
        x, y, nodes = found
        image = draft.image(x)
        if image is None:
            return "its input is not (N, C, H, W)"
        edit = Edit(draft, nodes)
        slope = affine(edit, squared(edit, x), _SLOPE * _CUBIC, _SLOPE)
        gate = edit.add("Sigmoid", [edit.add("Mul", [slope, x], image)], image)
        return edit.finish(edit.add("Mul", [x, gate], image), y)


def _written_out(draft: Draft, erf: onnx.NodeProto) -> tuple[str, str, list[onnx.NodeProto]] | None:
    """x, y and the nodes of x / sqrt 2 → Erf → + 1 → times x → times 1/2, in the orders that exporters write."""
    before = draft.producers.get(erf.input[0])
    if before is None or before.op_type not in ("Div", "Mul"):
        return None
    wanted = math.sqrt(2) if before.op_type == "Div" else math.sqrt(0.5)
    x = _other_than(draft, before, wanted)
    plus = draft.only_reader(erf.output[0])
    if x is None or plus is None or plus.op_type != "Add" or _other_than(draft, plus, 1.0) != erf.output[0]:
        return None
    first = draft.only_reader(plus.output[0])
    second = draft.only_reader(first.output[0]) if first is not None else None
    if first is None or second is None or first.op_type != "Mul" or second.op_type != "Mul":
        return None
    nodes = [before, erf, plus, first, second]
    if set(first.input) == {x, plus.output[0]} and _other_than(draft, second, 0.5) == first.output[0]:
        return x, second.output[0], nodes
    if _other_than(draft, first, 0.5) == plus.output[0] and set(second.input) == {x, first.output[0]}:
        return x, second.output[0], nodes
    return None


def _other_than(draft: Draft, node: onnx.NodeProto, constant: float) -> str | None:
    """The operand beside the constant of that value."""
    for index in (1, 0) if node.op_type != "Div" else (1,):
        value = draft.value(node, index)
        if value is not None and value.size == 1 and math.isclose(float(value.reshape(-1)[0]), constant, rel_tol=1e-3):
            return str(node.input[1 - index])
    return None
