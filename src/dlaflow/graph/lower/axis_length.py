"""One dimension of a tensor as a tensor of the network."""

from __future__ import annotations

from dlaflow.graph.layer import Cast, Dims, Shuffle, Slice, Tensor
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.sizes import parser_knows


def axis_length(context: Context, data: Tensor, axis: int, *, scalar: bool) -> Tensor:
    """The length of an axis in 32 bits, as a scalar or as a vector of one.

    Newer parsers always take it from SHAPE; older ones write a constant when they know it.
    """
    if context.parser.extracts_dimensions:
        rank = _rank(data)
        whole = context.emit("SHAPE", [data], (rank,), dtype="int64", name="")
        whole = context.emit("CAST", [whole], (rank,), Cast("int32"), dtype="int32", name="")
        return _extracted(context, whole, axis, scalar=scalar)
    return _constant_or_gathered(context, data, axis, scalar=scalar)


def wide_axis_length(context: Context, data: Tensor, axis: int) -> Tensor:
    """The length of an axis in the parser's own integers, as a vector of one."""
    if context.parser.extracts_dimensions:
        whole = context.emit("SHAPE", [data], (_rank(data),), dtype="int64", name="")
        return _extracted(context, whole, axis, scalar=False)
    return _constant_or_gathered(context, data, axis, scalar=False)


def _rank(data: Tensor) -> int | None:
    return None if data.shape is None else len(data.shape)


def _extracted(context: Context, whole: Tensor, axis: int, *, scalar: bool) -> Tensor:
    part = context.emit("SLICE", [whole], (1,), Slice((axis,), (1,), (1,)), name="ONNXTRT_extractDimension")
    if not scalar:
        return part
    attributes = Shuffle(helper=True)
    return context.emit("SHUFFLE", [part], (), attributes, name="ONNXTRT_extractDimensionReshape")


def _constant_or_gathered(context: Context, data: Tensor, axis: int, *, scalar: bool) -> Tensor:
    shape: Dims = () if scalar else (1,)
    size = data.shape[axis] if data.shape is not None and axis < len(data.shape) else None
    if parser_knows(size):
        return context.constant(shape, "int32")
    whole = context.emit("SHAPE", [data], (_rank(data),), dtype="int32", name="")
    where = context.constant(shape, "int32")
    return context.emit("GATHER", [whole, where], shape, name="")
