"""Start and size of a Slice as the parser computes them, in numbers where it can and in layers where it cannot."""

from __future__ import annotations

from dlaflow.graph.layer import Cast, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor


def bounds(context: Context, data: Tensor) -> list[ShapeTensor]:
    """Start and size, negative and oversized indices brought into range.

    Newer parsers compute them for the sliced axes alone, with starts and ends as tensors even when they are weights;
    older ones for all axes, interlaced with the tensor's own shape.
    """
    rank = len(data.shape or ())
    starts, ends = _given(context, 1), _given(context, 2)
    count = len(starts.values)
    axes = [axis % rank for axis in context.integers(3) or range(count)]
    if len(axes) != count or not count:
        return []
    steps = ShapeTensor((1,) * count) if context.is_absent(4) else sizes.from_input(context, 4, count)
    dims = sizes.shape_of(data)
    if context.parser.names_every_layer:
        dims = sizes.gather(context, dims, ShapeTensor(tuple(axes)))
    elif axes != list(range(rank)):
        order = list(range(rank))
        for number, axis in enumerate(axes):
            order[axis] = rank + number
        subscripts = ShapeTensor(tuple(order))
        starts = sizes.interlace(context, _filled(rank, 0), starts, subscripts)
        ends = sizes.interlace(context, dims, ends, subscripts)
        steps = sizes.interlace(context, _filled(rank, 1), steps, subscripts)
    return _decoded(context, dims, (starts, ends, steps))


def _given(context: Context, index: int) -> ShapeTensor:
    if not context.parser.names_every_layer:
        return sizes.from_input(context, index)
    operand = context.operand(index)
    value = context.integers(index)
    tensor = context.as_tensor(operand)
    shape = tensor.shape or (1,)
    tensor = context.helper("CAST", [tensor], shape, Cast("int64"), "ONNXTRT_castHelper", dtype="int64")
    count = len(value) if value is not None else shape[0] or 0
    return ShapeTensor((None,) * count, tensor=tensor)


def _filled(count: int, value: int) -> ShapeTensor:
    return ShapeTensor((value,) * count)


def _decoded(
    context: Context, dims: ShapeTensor, given: tuple[ShapeTensor, ShapeTensor, ShapeTensor]
) -> list[ShapeTensor]:
    starts, ends, steps = given
    sign = _clamp(context, steps, sizes.vector(-1), sizes.vector(0))
    starts = _from_the_end(context, dims, starts)
    starts = _clamp(context, starts, sizes.vector(0), sizes.add(context, dims, sign))
    ends = _from_the_end(context, dims, ends)
    ends = _clamp(context, ends, sign, dims)
    if steps.known and all(step == 1 for step in steps.values):
        extent = sizes.subtract(context, ends, starts)
    else:
        reach = sizes.floor_divide(context, sizes.subtract(context, starts, ends), steps)
        extent = sizes.subtract(context, _filled(len(dims.values), 0), reach)
    return [starts, sizes.maximum(context, _filled(len(dims.values), 0), extent)]


def _clamp(context: Context, values: ShapeTensor, low: ShapeTensor, high: ShapeTensor) -> ShapeTensor:
    return sizes.minimum(context, sizes.maximum(context, values, low), high)


def _from_the_end(context: Context, dims: ShapeTensor, indices: ShapeTensor) -> ShapeTensor:
    """Indices below zero count from the end."""
    signs = _clamp(context, indices, sizes.vector(-1), sizes.vector(0))
    return sizes.subtract(context, indices, sizes.multiply(context, signs, dims))
