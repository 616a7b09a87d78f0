"""Start, size and stride of a Slice as the parser computes them: in numbers where it can, in layers where it cannot."""

from __future__ import annotations

from dlaflow.graph.layer import Cast, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.sizes import parser_knows

Bounds = tuple[ShapeTensor, ShapeTensor, ShapeTensor]


def bounds(context: Context, data: Tensor) -> Bounds | None:
    """Start, size and stride, negative and oversized indices brought into range; None where nothing can be told.

    Newer parsers take starts and ends as tensors even when they are weights; the newest compute for the sliced axes
    alone, older ones for all axes, interlaced with the tensor's own shape.
    """
    rank = len(data.shape or ())
    starts, ends, axes, steps = _given(context)
    count = len(starts.values)
    if axes is None:
        axes = tuple(range(count))
    if len(axes) != count or len(ends.values) != count or not count or not rank:
        return None
    axes = tuple(axis % rank for axis in axes)
    dims = sizes.shape_of(data)
    if context.parser.slices_axes_alone:
        dims = sizes.gather(context, dims, ShapeTensor(axes))
    elif axes != tuple(range(rank)):
        order = list(range(rank))
        for number, axis in enumerate(axes):
            order[axis] = rank + number
        subscripts = ShapeTensor(tuple(order))
        starts = sizes.interlace(context, _filled(rank, 0), starts, subscripts)
        ends = sizes.interlace(context, dims, ends, subscripts)
        steps = sizes.interlace(context, _filled(rank, 1), steps, subscripts)
    return decoded(context, dims, (starts, ends, steps))


def is_static(context: Context, data: Tensor) -> bool:
    """Whether a parser that computes slices in the network takes this one as numbers: INT32 weights, fixed sizes."""
    given = [context.operand(index) for index in range(1, len(context.node.input)) if not context.is_absent(index)]
    if not given or not all(operand.weights for operand in given):
        return False
    fixed = data.shape is not None and all(parser_knows(size) for size in data.shape)
    return given[0].tensor.dtype == "int32" and fixed


def _given(context: Context) -> tuple[ShapeTensor, ShapeTensor, tuple[int, ...] | None, ShapeTensor]:
    """Starts, ends, axes and steps, from attributes before opset 10 and from inputs since."""
    if context.is_absent(1):
        starts, ends = (ShapeTensor(context.attributes.integers(name) or ()) for name in ("starts", "ends"))
        return starts, ends, context.attributes.integers("axes"), _filled(len(starts.values), 1)
    starts, ends = _input(context, 1), _input(context, 2)
    count = len(starts.values)
    steps = _filled(count, 1) if context.is_absent(4) else sizes.from_input(context, 4, count)
    return starts, ends, context.integers(3), steps


def _input(context: Context, index: int) -> ShapeTensor:
    if not context.parser.computes_slices:
        return sizes.from_input(context, index)
    operand = context.operand(index)
    value = context.integers(index)
    tensor = context.as_tensor(operand)
    shape = tensor.shape or (1,)
    tensor = context.helper("CAST", [tensor], shape, Cast("int64"), "ONNXTRT_castHelper", dtype="int64")
    count = len(value) if value is not None else shape[0] or 0
    return sizes.unknown(count, tensor)


def _filled(count: int, value: int) -> ShapeTensor:
    return ShapeTensor((value,) * count)


def decoded(context: Context, dims: ShapeTensor, given: Bounds) -> Bounds:
    """Starts, ends and steps, one for each of `dims`, as start, size and stride."""
    starts, ends, steps = given
    count = len(dims.values)
    sign = _clamp(context, steps, sizes.vector(-1), sizes.vector(0))
    starts = _from_the_end(context, dims, starts)
    starts = _clamp(context, starts, sizes.vector(0), sizes.add(context, dims, sign))
    ends = _from_the_end(context, dims, ends)
    ends = _clamp(context, ends, sign, dims)
    if steps.known and all(step == 1 for step in steps.values):
        extent = sizes.subtract(context, ends, starts)
    else:
        reach = sizes.floor_divide(context, sizes.subtract(context, starts, ends), steps)
        extent = sizes.subtract(context, _filled(count, 0), reach)
    return starts, sizes.maximum(context, _filled(count, 0), extent), steps


def _clamp(context: Context, values: ShapeTensor, low: ShapeTensor, high: ShapeTensor) -> ShapeTensor:
    return sizes.minimum(context, sizes.maximum(context, values, low), high)


def _from_the_end(context: Context, dims: ShapeTensor, indices: ShapeTensor) -> ShapeTensor:
    """Indices below zero count from the end."""
    signs = _clamp(context, indices, sizes.vector(-1), sizes.vector(0))
    return sizes.subtract(context, indices, sizes.multiply(context, signs, dims))
