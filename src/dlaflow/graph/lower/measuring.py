"""Size: the number of elements, from the parser's own shape arithmetic."""

from __future__ import annotations

from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.sizes import OpenSize, parser_knows


def import_size(context: Context) -> None:
    """Size: a constant when the parser knows the shape, else a product of gathered dimensions."""
    operand = context.operand(0)
    shape = sizes.shape_of(operand.tensor)
    if operand.tensor.shape is None:
        context.finish(context.emit("SHAPE", [context.as_tensor(operand)], (None,), name="", dtype="int64"))
        return
    total = sizes.scalar(1)
    for index in range(len(shape.values)):
        total = sizes.multiply(context, total, _dimension(context, shape, index))
    context.finish(total.materialise(context))


def _dimension(context: Context, shape: ShapeTensor, index: int) -> ShapeTensor:
    """One dimension as a scalar."""
    size = shape.values[index]
    if parser_knows(size):
        return ShapeTensor((size,), rank=0)
    where = sizes.scalar(index).materialise(context)
    source = shape.materialise(context)
    made = context.helper("GATHER", [source, where], (), None, "ONNXTRT_ShapeGather")
    return ShapeTensor((None if size is None else OpenSize(size),), rank=0, tensor=made)
