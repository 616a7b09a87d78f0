"""Inputs whose open dimensions share a name: 8.2 and 8.4 compare them at run time."""

from __future__ import annotations

from collections import defaultdict

from dlaflow.graph.layer import ElementWise, Slice, Tensor
from dlaflow.graph.lower.context import Context


def assert_dimension_names(context: Context) -> None:
    """SHAPE of each input, SLICE of each dimension, EQUAL and ASSERTION for each neighbouring pair of one name."""
    places: dict[str, list[tuple[Tensor, int]]] = defaultdict(list)
    for value in context.model.proto.graph.input:
        if value.name in context.initializers:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param:
                places[dim.dim_param].append((context.bound(value.name).tensor, axis))
    shapes: dict[str, Tensor] = {}
    for name in sorted(name for name, found in places.items() if len(found) > 1):
        before: Tensor | None = None
        for tensor, axis in places[name]:
            if tensor.name not in shapes:
                rank = len(tensor.shape or ())
                shapes[tensor.name] = context.emit("SHAPE", [tensor], (rank,), name="", dtype="int32")
            given = [shapes[tensor.name]]
            length = context.emit("SLICE", given, (1,), Slice((axis,), (1,), (1,)), name="")
            if before is not None:
                equal = context.emit("ELEMENTWISE", [before, length], (1,), ElementWise("EQUAL"), name="", dtype="bool")
                context.emit("ASSERTION", [equal], (), name="")
                context.drafts[-1].outputs.clear()
            before = length
