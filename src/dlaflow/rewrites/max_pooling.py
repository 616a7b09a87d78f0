"""GlobalMaxPool and ReduceMax over H and W → MaxPool, in several steps above the largest window.

    max over H, W = MaxPool(H x W)          max over h1*h2 rows = max over h2 of the maxima over h1

A side that is no product of small numbers is covered by overlapping windows of stride 1.
"""

from __future__ import annotations

from itertools import zip_longest

import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.draft import Draft, Edit
from dlaflow.rewrites.mean_pooling import factors, reduced_axes
from dlaflow.rewrites.pooling_windows import links


class MaxPooling(Rewrite):
    """Maxima over H and W become MaxPool windows."""

    id = "max-pooling"
    answers = ("DLA250", "DLA251", "DLA241", "DLA242")
    operators = ("GlobalMaxPool", "ReduceMax")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, shape = draft.image(node.input[0]), draft.shape(node.output[0])
        axes = reduced_axes(draft, node, 4)
        if image is None or shape is None or not axes:
            return None
        if not set(axes) <= {2, 3}:
            return "only maxima over H and W are pools"
        largest = bounds.largest("pool.window", 8)
        rows, columns = (_steps(image[axis] if axis in axes else 1, largest) for axis in (2, 3))
        edit, x = Edit(draft, [node]), node.input[0]
        for row, column in zip_longest(rows, columns, fillvalue=(1, 1)):
            n, c, h, w = (int(dim) for dim in edit.shape(x) or ())
            window, strides = [row[0], column[0]], [row[1], column[1]]
            out = (n, c, (h - window[0]) // strides[0] + 1, (w - window[1]) // strides[1] + 1)
            x = edit.add("MaxPool", [x], out, kernel_shape=window, strides=strides)
        return edit.finish(x, node.output[0])


def _steps(side: int, largest: int) -> list[tuple[int, int]]:
    """Windows and strides that bring a side down to 1."""
    found = factors(side, largest)
    return [(each, each) for each in found] if found is not None else [(each, 1) for each in links(side, largest)]
