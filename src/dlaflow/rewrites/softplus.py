"""Softplus → x sigmoid(x) plus the entropy of sigmoid(x), which is a polynomial in a narrower sigmoid.

    log(1 + e^x) = x s + H(s)       s = sigmoid(x),  H(s) = -s log s - (1 - s) log(1 - s)
    H ~ v^2 (c0 + c1 v + c2 v^2)    v = sigmoid(x / 2) sigmoid(-x / 2)

Both sides are even in x and fall like |x| e^-|x| and e^-|x|. The constants are a minimax fit; the two differ by at most
6.6e-4 anywhere (on a grid of -40..40 in steps of 1e-4).
"""

from __future__ import annotations

import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite, Safety
from dlaflow.rewrites.building_blocks import affine, squared
from dlaflow.rewrites.draft import Draft, Edit
from dlaflow.rewrites.mish import written_out

LARGEST_ERROR = 6.6e-4
_CONSTANTS = (9.27354686, -22.52623662, 119.009302)


class SoftplusBySigmoid(Rewrite):
    """Softplus becomes sigmoids and products, within 6.6e-4."""

    id = "softplus"
    answers = ("DLA170",)
    safety = Safety.TOLERANCE
    operators = ("Softplus",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        x, shape = node.input[0], draft.image(node.input[0])
        if any(written_out(draft, reader) for reader in draft.consumers.get(node.output[0], []) if _is_tanh(reader)):
            return None  # a part of Mish, which has its own form
        if shape is None:
            return "its input is not (N, C, H, W)"
        edit = Edit(draft, [node])
        swish = edit.add("Mul", [x, edit.add("Sigmoid", [x], shape)], shape)
        halves = [edit.add("Sigmoid", [affine(edit, x, slope, 0.0)], shape) for slope in (0.5, -0.5)]
        v = edit.add("Mul", halves, shape)
        c0, c1, c2 = _CONSTANTS
        value = affine(edit, edit.add("Mul", [affine(edit, v, c2, c1), v], shape), 1.0, c0)
        entropy = edit.add("Mul", [squared(edit, v), value], shape)
        return edit.finish(edit.add("Add", [swish, entropy], shape), node.output[0])


def _is_tanh(node: onnx.NodeProto) -> bool:
    return node.op_type == "Tanh"
