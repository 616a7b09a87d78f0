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
    dtype = context.operand(0).tensor.dtype
    start, limit, step = (_given(context, index) for index in range(3))
    zero = sizes.scalar(0)
    quotient = sizes.floor_divide(context, sizes.subtract(context, start, limit), step)
    if dtype.startswith("float") or (context.parser.int64 and dtype == "int32"):
        quotient = _whole(context, quotient)
    count = sizes.maximum(context, sizes.subtract(context, zero, quotient), zero)
    shape = _as_vector(context, count)
    out = context.output()
    if context.parser.names_helpers:
        context.names.layer("ONNXTRT_ShapeFill")
    inputs = [] if shape.known else [shape.materialise(context)]
    result = context.emit("FILL", inputs, out.shape, dtype=out.dtype or "int64")
    draft = context.drafts[-1]
    if not (start.known and step.known) and not _takes_parameters(context, dtype):
        draft.inputs.append(start.materialise(context))
        draft.inputs.append(_as_vector(context, step).materialise(context))
    folds = bool(draft.inputs) and all(tensor.constant for tensor in draft.inputs)
    if out.constant or folds or (shape.known and start.known and step.known):
        result = replace(result, constant=True)
        draft.outputs = [result]
    context.finish(result)


def _takes_parameters(context: Context, dtype: str) -> bool:
    """INT32 start and step that are weights are parameters of the layer from 10.0 on."""
    return context.parser.int64 and dtype == "int32" and context.operand(0).weights and context.operand(2).weights


def _given(context: Context, index: int) -> ShapeTensor:
    """Start, limit or step: weights are numbers to older parsers, newer ones and floats take a tensor."""
    operand = context.operand(index)
    if operand.tensor.dtype.startswith("float"):
        return ShapeTensor((None,), rank=len(operand.tensor.shape or ()), tensor=context.as_tensor(operand))
    if not context.parser.int64:
        return sizes.from_input(context, index)
    value = context.value(index)
    tensor = context.cast(context.as_tensor(operand), "int64")
    number = int(value.reshape(-1)[0]) if value is not None and value.size else None
    return ShapeTensor((None if number is None else OpenSize(number),), rank=0, tensor=tensor)


def _whole(context: Context, quotient: ShapeTensor) -> ShapeTensor:
    """A quotient of floats as an integer."""
    data = quotient.materialise(context)
    if context.parser.names_helpers:
        made = context.emit("CAST", [data], data.shape, Cast("int64"), name="ONNXTRT_ShapeCastToInt64", dtype="int64")
    else:
        made = context.emit("IDENTITY", [data], data.shape, Cast("int32"), name="", dtype="int32")
    return ShapeTensor(quotient.values, quotient.rank, made)


def _as_vector(context: Context, scalar: ShapeTensor) -> ShapeTensor:
    if scalar.known:
        return ShapeTensor(scalar.values)
    line = sizes.add_shuffle(context, scalar.materialise(context), sizes.vector(1))
    return ShapeTensor(scalar.values, tensor=line)
