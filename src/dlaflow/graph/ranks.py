"""What an input reveals of a shape that ONNX's inference leaves open: at least the rank, from a list of sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dlaflow.graph.layer import Dims
from dlaflow.graph.tensor_type import TensorType

if TYPE_CHECKING:
    import onnx

_LIST_AT = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0}
"""Which input lists the sizes of the output."""
_HIGHEST = 64


def open_shape(node: onnx.NodeProto, types: Mapping[str, TensorType]) -> Dims | None:
    """The output of a node that takes a list of sizes, all dimensions open; None when the list's length is open too.

    ONNX's inference leaves the rank open where it cannot follow the values, in older opsets most of all.
    """
    if node.op_type == "GridSample":
        return _sampled(node, types)
    at = _LIST_AT.get(node.op_type)
    if at is None or len(node.input) <= at or node.input[at] not in types:
        return None
    listed = types[node.input[at]].shape
    if listed is None or len(listed) != 1 or listed[0] is None or listed[0] > _HIGHEST:
        return None
    rank = listed[0]
    if node.op_type == "Expand":
        data = types[node.input[0]].shape if node.input[0] in types else None
        if data is None:
            return None
        rank = max(rank, len(data))
    return (None,) * rank


def _sampled(node: onnx.NodeProto, types: Mapping[str, TensorType]) -> Dims | None:
    """Batch and channels of the data, places of the grid: opsets before 16 have the operator in another domain only."""
    shapes = [types[name].shape for name in node.input[:2] if name in types]
    if len(shapes) < 2 or shapes[0] is None or shapes[1] is None:
        return None
    return (*shapes[0][:2], *shapes[1][1:-1])
