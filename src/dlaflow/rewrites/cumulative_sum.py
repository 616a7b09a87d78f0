"""CumSum → a 1x1 convolution whose weights are a triangle of ones, along H and W between two transposes."""

from __future__ import annotations

import numpy as np
import onnx

from dlaflow.rewrites.axis_selection import turn, turn_back, unfit_along
from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import convolved
from dlaflow.rewrites.draft import Draft, Edit, integer


class CumulativeSum(Rewrite):
    """Running sums become convolutions with a triangle of ones."""

    id = "cumulative-sum"
    answers = ("DLA106", "DLA191", "DLA287")
    operators = ("CumSum",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, given = draft.image(node.input[0]), draft.value(node, 1)
        if image is None or given is None or given.size != 1 or not draft.is_float(node.input[0]):
            return None
        axis = range(4)[given.item()] if given.item() in range(-4, 4) else None
        if axis is None:
            return None
        if axis == 0:
            return "it adds up images of the batch"
        reason = unfit_along(axis, [image[axis]], bounds)
        if reason is not None:
            return reason
        edit = Edit(draft, [node])
        x = turn(edit, node.input[0], axis)
        ones = np.tri(image[axis], k=-integer(node, "exclusive", 0))
        kernel = (ones.T if integer(node, "reverse", 0) else ones)[:, :, None, None]
        return edit.finish(turn_back(edit, convolved(edit, x, kernel, edit.image(x)), axis), node.output[0])
