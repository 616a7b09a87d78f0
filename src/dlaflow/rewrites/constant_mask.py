"""Where with a constant condition, Scatter with constant indices → scales and convolutions, added up.

Where(c, a, b) = c a + (1 - c) b            with c one number a channel, row or column
Scatter(a, i, u) = (1 - m) a + W u          with m the slices that are replaced, W a convolution of ones and zeros
"""

from __future__ import annotations

import numpy as np
import onnx

from dlaflow.rewrites.axis_selection import append, of_several, picked, unfit
from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.draft import Draft, Edit, attribute
from dlaflow.rewrites.known_range import may_overflow

_SOURCES = {"Where": (1, 2), "ScatterElements": (0, 2), "ScatterND": (0, 2)}


class ConstantMask(Rewrite):
    """Where and Scatter by constants become sums of masked images."""

    id = "constant-mask"
    answers = ("DLA281", "DLA287")
    operators = tuple(_SOURCES)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, sources = draft.image(node.output[0]), _SOURCES[node.op_type]
        if image is None or not draft.is_float(node.output[0]):
            return None
        if attribute(node, "reduction", "none") != "none":
            return "it adds or compares what it scatters"
        numbers = picked(draft, node, sources)
        if numbers is None or numbers.shape != image:
            return None
        names = [node.input[index] for index in sources]
        origins = [draft.weights.get(name, draft.shape(name) or ()) for name in names]
        data, written = (int(np.prod(draft.shape(name) or ())) for name in names)
        if node.op_type != "Where" and int((numbers >= data).sum()) < written:
            return "it writes a place twice"
        selection = of_several(numbers, origins)
        if isinstance(selection, str):
            return selection
        images = {index: names[index] for index in sorted(set(selection.source.tolist()) - {-1})}
        if not images:
            return "nothing is left but constants"
        if overflows := next((found for name in images.values() if (found := may_overflow(draft, name))), ""):
            return f"it may replace an infinity of {overflows}, which a product with 0 would make nan"
        reason = unfit(selection, [(draft.shape(name) or image)[selection.axis] for name in images.values()], bounds)
        if reason is not None:
            return reason
        edit = Edit(draft, [node])
        return edit.finish(append(edit, selection, images, bounds), node.output[0])
