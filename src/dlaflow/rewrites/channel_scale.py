"""Mul and Add with one constant for each channel → BatchNormalization, which is a Scale on every release.

    x * c = BatchNormalization(x, scale c)      x + c = BatchNormalization(x, bias c)      x * c + d in one

Needed where the release does not broadcast such a constant (before TensorRT 8.5), and where none may stand beside the
layers: in a standalone build.
"""

from __future__ import annotations

import numpy as np
import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import Floats, affine
from dlaflow.rewrites.draft import Draft, Edit


class ChannelScale(Rewrite):
    """Mul and Add with a constant for each channel become one Scale."""

    id = "channel-scale"
    answers = ("DLA181", "DLA284")
    operators = ("Mul", "Add")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, limit = draft.image(node.output[0]), bounds.limit("elementwise.broadcast")
        operand = _per_channel(draft, node)
        if operand is None or image is None or limit is None:
            return None
        x, value = operand
        broadcast = image[0] == 1 and {"NC11", "N111"} <= set(limit.names)
        if broadcast and bounds.target.mode != "standalone":
            return None
        nodes, factor, offset = [node], np.ones(1), value
        if node.op_type == "Mul":
            factor, offset = value, np.zeros(1)
            reader = draft.only_reader(node.output[0])
            added = _per_channel(draft, reader) if reader is not None and reader.op_type == "Add" else None
            if reader is not None and added is not None:
                nodes, offset = [node, reader], added[1]
        edit = Edit(draft, nodes)
        affine(edit, x, factor, offset, output=nodes[-1].output[0])
        return edit


def _per_channel(draft: Draft, node: onnx.NodeProto) -> tuple[str, Floats] | None:
    """The tensor and the constant beside it, one number or one for each channel; None for anything else."""
    if len(node.input) != 2:
        return None
    first, second = node.input
    for x, other in ((first, second), (second, first)):
        image, value = draft.image(x), draft.weights.get(other)
        if image is None or value is None or value.dtype.kind != "f" or draft.shape(node.output[0]) != image:
            continue
        wide = np.asarray(value, np.float64).reshape([1] * (4 - value.ndim) + list(value.shape))
        if wide.size in (1, image[1]) and wide.size == np.shape(wide)[1]:
            return x, wide.reshape(-1)
    return None
