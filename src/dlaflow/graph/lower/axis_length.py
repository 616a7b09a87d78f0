"""One dimension of a tensor as a tensor of the network."""

from __future__ import annotations

from dlaflow.graph.layer import Cast, Dims, Shuffle, Slice, Tensor
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.sizes import parser_knows


def axis_length(context: Context, data: Tensor, axis: int, *, scalar: bool) -> Tensor:
    """The length of an axis, as a scalar or as a vector of one.

    Newer parsers always take it from SHAPE; older ones write a constant when they know it.
    """
    shape: Dims = () if scalar else (1,)
    rank = len(data.shape or ())
    if context.parser.names_every_layer:
        whole = context.emit("SHAPE", [data], (rank,), dtype="int64", name="")
        whole = context.emit("CAST", [whole], (rank,), Cast("int32"), dtype="int32", name="")
        part = context.emit("SLICE", [whole], (1,), Slice((axis,), (1,), (1,)), name="ONNXTRT_extractDimension")
        if not scalar:
            return part
        return context.emit(
            "SHUFFLE", [part], (), Shuffle(helper=True), name="ONNXTRT_extractDimensionReshape", dtype="int32"
        )
    size = data.shape[axis] if data.shape is not None and axis < rank else None
    if parser_knows(size):
        return context.constant(shape, "int32")
    whole = context.emit("SHAPE", [data], (rank,), dtype="int32", name="")
    where = context.constant(shape, "int32")
    return context.emit("GATHER", [whole, where], shape, name="")
