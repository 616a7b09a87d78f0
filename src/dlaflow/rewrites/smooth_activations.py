"""GELU, Mish and Softplus → sigmoids and products, each within a bound found on a grid of steps of 1e-4.

    GELU(x) = x (1 + erf(x / sqrt 2)) / 2  ~  x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
                                           =  x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))

    Mish(x) = x tanh(log(1 + e^x)) = x (1 - q^2) / (1 + q^2) = x s (1 + q) / (1 + q^2)     s = sigmoid(x)
            ~ x s (1 + q (c0 + c1 q + c2 q^2 + c3 q^3))                                    q = sigmoid(-x) = 1 - s

    Softplus(x) = log(1 + e^x) = x s + H(s)      H(s) = -s log s - (1 - s) log(1 - s)
              H ~ v^2 (c0 + c1 v + c2 v^2)       v = sigmoid(x / 2) sigmoid(-x / 2)

The constants are minimax fits. H and v^2 are even in x and fall like |x| e^-|x| and e^-|x|. Squares go through a
depthwise convolution that copies, since an element-wise layer wants two tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite, Safety
from dlaflow.rewrites.building_blocks import affine, squared
from dlaflow.rewrites.draft import Draft, Edit, Shape

_GELU_SLOPE = 2 * math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715
_MISH = (1.00958289, -1.16590401, -0.32729630, 0.49301022)
_SOFTPLUS = (9.27354686, -22.52623662, 119.009302)

_Found = tuple[str, str, list[onnx.NodeProto]]
"""x, y and the nodes between them."""


class _SmoothActivation(Rewrite):
    safety = Safety.TOLERANCE
    largest_error: ClassVar[float]

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        found = self.pattern(draft, node)
        if found is None:
            return None
        x, y, nodes = found
        image = draft.image(x)
        if image is None:
            return "its input is not (N, C, H, W)"
        edit = Edit(draft, nodes)
        return edit.finish(self.form(edit, x, image), y)

    def pattern(self, draft: Draft, node: onnx.NodeProto) -> _Found | None:
        """The activation that `node` is, or stands in the middle of."""
        return node.input[0], node.output[0], [node]

    def form(self, edit: Edit, x: str, shape: Shape) -> str:
        """Append what computes the same of `x`."""
        raise NotImplementedError


class GeluBySigmoid(_SmoothActivation):
    """GELU becomes x times a sigmoid, within 4.8e-4."""

    id = "gelu"
    answers = ("DLA170", "DLA270", "DLA180")
    operators = ("Gelu", "Erf")
    largest_error = 4.8e-4

    def pattern(self, draft: Draft, node: onnx.NodeProto) -> _Found | None:
        return _gelu_of_erf(draft, node) if node.op_type == "Erf" else super().pattern(draft, node)

    def form(self, edit: Edit, x: str, shape: Shape) -> str:
        slope = affine(edit, squared(edit, x), _GELU_SLOPE * _GELU_CUBIC, _GELU_SLOPE)
        gate = edit.add("Sigmoid", [edit.add("Mul", [slope, x], shape)], shape)
        return edit.add("Mul", [x, gate], shape)


class MishBySigmoid(_SmoothActivation):
    """Mish becomes sigmoids and products, within 5.4e-4."""

    id = "mish"
    answers = ("DLA170", "DLA288")
    operators = ("Mish", "Tanh")
    largest_error = 5.4e-4

    def pattern(self, draft: Draft, node: onnx.NodeProto) -> _Found | None:
        return _mish_of_tanh(draft, node) if node.op_type == "Tanh" else super().pattern(draft, node)

    def form(self, edit: Edit, x: str, shape: Shape) -> str:
        q = edit.add("Sigmoid", [affine(edit, x, -1.0, 0.0)], shape)
        swish = edit.add("Mul", [x, edit.add("Sigmoid", [x], shape)], shape)
        return edit.add("Mul", [swish, _polynomial(edit, q, (1.0, *_MISH), shape)], shape)


class SoftplusBySigmoid(_SmoothActivation):
    """Softplus becomes sigmoids and products, within 6.6e-4."""

    id = "softplus"
    answers = ("DLA170",)
    operators = ("Softplus",)
    largest_error = 6.6e-4

    def pattern(self, draft: Draft, node: onnx.NodeProto) -> _Found | None:
        readers = [reader for reader in draft.consumers.get(node.output[0], []) if reader.op_type == "Tanh"]
        if any(_mish_of_tanh(draft, reader) for reader in readers):
            return None  # a part of Mish, which has its own form
        return super().pattern(draft, node)

    def form(self, edit: Edit, x: str, shape: Shape) -> str:
        swish = edit.add("Mul", [x, edit.add("Sigmoid", [x], shape)], shape)
        halves = [edit.add("Sigmoid", [affine(edit, x, slope, 0.0)], shape) for slope in (0.5, -0.5)]
        v = edit.add("Mul", halves, shape)
        value = _polynomial(edit, v, _SOFTPLUS, shape)
        entropy = edit.add("Mul", [squared(edit, v), value], shape)
        return edit.add("Add", [swish, entropy], shape)


def _polynomial(edit: Edit, x: str, constants: Sequence[float], shape: Shape) -> str:
    """Append c0 + c1 x + c2 x^2 + ... by Horner's scheme."""
    *rest, last_but_one, last = constants
    value = affine(edit, x, last, last_but_one)
    for constant in reversed(rest):
        value = affine(edit, edit.add("Mul", [value, x], shape), 1.0, constant)
    return value


def _gelu_of_erf(draft: Draft, erf: onnx.NodeProto) -> _Found | None:
    """x / sqrt 2 → Erf → + 1 → times x → times 1/2, in the orders that exporters write."""
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
    by_x_first = set(first.input) == {x, plus.output[0]} and _other_than(draft, second, 0.5) == first.output[0]
    by_half_first = _other_than(draft, first, 0.5) == plus.output[0] and set(second.input) == {x, first.output[0]}
    return (x, second.output[0], [before, erf, plus, first, second]) if by_x_first or by_half_first else None


def _other_than(draft: Draft, node: onnx.NodeProto, constant: float) -> str | None:
    """The operand beside the constant of that value."""
    for index in (1, 0) if node.op_type != "Div" else (1,):
        value = draft.value(node, index)
        if value is not None and value.size == 1 and math.isclose(float(value.reshape(-1)[0]), constant, rel_tol=1e-3):
            return str(node.input[1 - index])
    return None


def _mish_of_tanh(draft: Draft, tanh: onnx.NodeProto) -> _Found | None:
    """Softplus → Tanh → times x, the form of opsets before 18."""
    soft, product = draft.producers.get(tanh.input[0]), draft.only_reader(tanh.output[0])
    if soft is None or soft.op_type != "Softplus" or product is None or product.op_type != "Mul":
        return None
    if draft.only_reader(soft.output[0]) is not tanh or set(product.input) != {soft.input[0], tanh.output[0]}:
        return None
    return soft.input[0], product.output[0], [soft, tanh, product]
