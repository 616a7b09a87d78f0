"""Sums and means over channels, and sums over H and W → convolutions with equal weights.

sum over c of x[c] = Conv 1x1 with ones      sum over H, W = depthwise Conv with an H x W window of ones
"""

from __future__ import annotations

import numpy as np
import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.draft import Draft, Edit
from dlaflow.rewrites.mean_pooling import reduced_axes


class ChannelReduction(Rewrite):
    """ReduceSum, and ReduceMean over channels, become convolutions with equal weights."""

    id = "channel-reduction"
    answers = ("DLA250", "DLA241")
    operators = ("ReduceSum", "ReduceMean")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, shape = draft.image(node.input[0]), draft.shape(node.output[0])
        axes = reduced_axes(draft, node, 4)
        if image is None or shape is None or not axes or 0 in axes:
            return None
        mean = node.op_type == "ReduceMean"
        if mean and 1 not in axes:
            return None
        n, c, h, w = image
        window = (h if 2 in axes else 1, w if 3 in axes else 1)
        limit = bounds.limit("conv.kernel")
        if limit is not None and not limit.allows(*window):
            return f"the window {window[0]}x{window[1]} is larger than {limit.text}"
        channels = 1 if 1 in axes else c
        inside = c if 1 in axes else 1
        weight = 1 / (inside * window[0] * window[1]) if mean else 1.0
        edit, x = Edit(draft, [node]), node.input[0]
        kernel = edit.weight("weights", np.full((channels, inside, *window), weight), x)
        out = (n, channels, h // window[0], w // window[1])
        groups = 1 if 1 in axes else c
        return edit.finish(edit.add("Conv", [x, kernel], out, kernel_shape=list(window), group=groups), node.output[0])
