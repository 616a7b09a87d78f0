"""Range: FILL with a count that is computed as the parser computes it."""

from __future__ import annotations

from dataclasses import replace

from dlaflow.graph.layer import Cast
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.sizes import OpenSize


def import_range(context: Context) -> None:
    """Range: max(0 - floor((start - limit) / step), 0) elements from FILL."""
    start, limit, step = (_given(context, index) for index in range(3))
    zero = sizes.scalar(0)
    quotient = sizes.floor_divide(context, sizes.subtract(context, start, limit), step)
    count = sizes.maximum(context, sizes.subtract(context, zero, quotient), zero)
    shape = _as_vector(context, count)
    inputs = [] if shape.known else [shape.materialise(context)]
    out = context.output()
    if context.parser.names_helpers:
        context.names.layer("ONNXTRT_ShapeFill")
    result = context.emit("FILL", inputs, out.shape, dtype=out.dtype or "int64")
    draft = context.drafts[-1]
    if not (start.known and step.known):
        draft.inputs.append(start.materialise(context))
        draft.inputs.append(_as_vector(context, step).materialise(context))
    if out.constant:
        result = replace(result, constant=True)
        draft.outputs = [result]
    context.finish(result)


def _given(context: Context, index: int) -> ShapeTensor:
    if not context.parser.names_every_layer:
        return sizes.from_input(context, index)
    value = context.value(index)
    tensor = context.tensor(index)
    if not tensor.dtype.startswith("float"):
        tensor = context.helper("CAST", [tensor], tensor.shape, Cast("int64"), "ONNXTRT_castHelper", dtype="int64")
    number = int(value.reshape(-1)[0]) if value is not None and value.size else None
    return ShapeTensor((None if number is None else OpenSize(number),), rank=0, tensor=tensor)


def _as_vector(context: Context, scalar: ShapeTensor) -> ShapeTensor:
    if scalar.known:
        return ShapeTensor(scalar.values)
    line = sizes.add_shuffle(context, scalar.materialise(context), sizes.vector(1))
    return ShapeTensor(scalar.values, tensor=line)
