"""Mish → x sigmoid(x) times a cubic in sigmoid(-x).

With s = sigmoid(x) and q = sigmoid(-x) = 1 - s:

    Mish(x) = x tanh(log(1 + e^x)) = x (1 - q^2) / (1 + q^2) = x s (1 + q) / (1 + q^2)
            ~ x s (1 + q (c0 + c1 q + c2 q^2 + c3 q^3))

The constants are a minimax fit; the two differ by at most 5.4e-4 anywhere (on a grid of -40..40 in steps of 1e-4).
"""

from __future__ import annotations

import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite, Safety
from dlaflow.rewrites.building_blocks import affine
from dlaflow.rewrites.draft import Draft, Edit

LARGEST_ERROR = 5.4e-4
_CUBIC = (1.00958289, -1.16590401, -0.32729630, 0.49301022)


class MishBySigmoid(Rewrite):
    """Mish becomes sigmoids and products, within 5.4e-4."""

    id = "mish"
    answers = ("DLA170", "DLA288")
    safety = Safety.TOLERANCE
    operators = ("Mish", "Tanh")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        found = written_out(draft, node) if node.op_type == "Tanh" else (node.input[0], node.output[0], [node])
        if found is None:
            return None
        x, y, nodes = found
        shape = draft.image(x)
        if shape is None:
            return "its input is not (N, C, H, W)"
        edit = Edit(draft, nodes)
        q = edit.add("Sigmoid", [affine(edit, x, -1.0, 0.0)], shape)
        swish = edit.add("Mul", [x, edit.add("Sigmoid", [x], shape)], shape)
        c0, c1, c2, c3 = _CUBIC
        value = affine(edit, q, c3, c2)
        for constant in (c1, c0, 1.0):
            value = affine(edit, edit.add("Mul", [value, q], shape), 1.0, constant)
        return edit.finish(edit.add("Mul", [swish, value], shape), y)


def written_out(draft: Draft, tanh: onnx.NodeProto) -> tuple[str, str, list[onnx.NodeProto]] | None:
    """x, y and the nodes of Softplus → Tanh → times x, the form of opsets before 18."""
    soft, product = draft.producers.get(tanh.input[0]), draft.only_reader(tanh.output[0])
    if soft is None or soft.op_type != "Softplus" or product is None or product.op_type != "Mul":
        return None
    if draft.only_reader(soft.output[0]) is not tanh or set(product.input) != {soft.input[0], tanh.output[0]}:
        return None
    return soft.input[0], product.output[0], [soft, tanh, product]
