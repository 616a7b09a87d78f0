"""Expand before an element-wise operation that broadcasts anyway → nothing."""

from __future__ import annotations

import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.draft import Draft, Edit
from dlaflow.rewrites.settle import BINARY


class Expansion(Rewrite):
    """Expand is dropped where its readers broadcast by themselves."""

    id = "expansion"
    answers = ("DLA235", "DLA236")
    operators = ("Expand",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        shape, source = draft.shape(node.output[0]), draft.shape(node.input[0])
        if shape is None or source is None or node.output[0] in draft.outputs or node.input[0] in draft.weights:
            return None
        for reader in draft.consumers.get(node.output[0], []):
            others = [draft.shape(name) for name in reader.input if name != node.output[0]]
            if reader.op_type not in BINARY or not any(other == shape for other in others):
                return f"{reader.op_type} reads it and does not broadcast it to the same shape"
        edit = Edit(draft, [node])
        edit.rename.append((node.output[0], node.input[0]))
        return edit
