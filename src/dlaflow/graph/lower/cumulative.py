"""CumSum: one layer in newer releases; before, a loop along the axis that adds slice after slice."""

from __future__ import annotations

from dlaflow.graph.layer import Concatenation, Dims, ElementWise, Slice, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.axis_length import axis_length, wide_axis_length
from dlaflow.graph.lower.broadcast import squeeze
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.filling import zeros_like
from dlaflow.graph.lower.shape_tensor import ShapeTensor


def import_cum_sum(context: Context) -> None:
    """CumSum: CUMULATIVE, or a loop."""
    data = context.tensor(0)
    if context.parser.native_cumulative:
        context.finish(context.emit("CUMULATIVE", [data, context.tensor(1)], data.shape))
        return
    rank = len(data.shape or ())
    axis = (context.integers(1) or (0,))[0] % max(rank, 1)
    first = _first_slice(context, data, axis)
    if context.attributes.integer("exclusive"):
        data = _shifted(context, data, first, axis)
    rest = None if data.shape is None else tuple(size for index, size in enumerate(data.shape) if index != axis)
    length = axis_length(context, data, axis, scalar=True)
    context.emit("TRIP_LIMIT", [length], (), name="")
    context.drafts[-1].outputs.clear()
    step = context.emit("ITERATOR", [data], rest, name="")
    zero = zeros_like(context, squeeze(context, first, [axis]))
    total = context.emit("RECURRENCE", [zero], rest, name="")
    state = context.drafts[-1]
    fresh = context.emit("ELEMENTWISE", [step, total], rest, ElementWise("SUM"), name="")
    state.inputs.append(fresh)
    context.finish(context.emit("LOOP_OUTPUT", [fresh, length], data.shape, name=""))


def _first_slice(context: Context, data: Tensor, axis: int) -> Tensor:
    """One element along the axis, all of the others: its size and strides are put together piece by piece."""
    shape: Dims = data.shape or (None,)
    whole = _length(context, data, axis)
    size = sizes.vector(1) if axis == 0 else _length(context, data, 0)
    strides = whole if axis == 0 else sizes.vector(1)
    for index in range(1, len(shape)):
        if index == axis:
            strides = sizes.concat(context, strides, whole)
            size = sizes.concat(context, size, sizes.vector(1))
        else:
            extent = _length(context, data, index)
            strides = sizes.concat(context, strides, sizes.vector(1))
            size = sizes.concat(context, size, extent)
    small = tuple(1 if index == axis else extent for index, extent in enumerate(shape))
    return _sliced(context, data, (size, strides), None if data.shape is None else small)


def _length(context: Context, data: Tensor, axis: int) -> ShapeTensor:
    return ShapeTensor((None,), tensor=wide_axis_length(context, data, axis))


def _sliced(context: Context, data: Tensor, given: tuple[ShapeTensor, ShapeTensor], shape: Dims | None) -> Tensor:
    """A helper SLICE whose size and strides are inputs where the parser does not know them."""
    size, strides = given
    made = context.emit("SLICE", [data], shape, Slice((), (), ()), name="")
    draft = context.drafts[-1]
    draft.inputs += [part.materialise(context) for part in (size, strides) if not part.known]
    if not context.parser.names_helpers:
        return made
    return context.rename_layer(draft, context.names.layer("ONNXTRT_ShapeSlice"))


def _shifted(context: Context, data: Tensor, first: Tensor, axis: int) -> Tensor:
    """The exclusive sum's input: a zero at one end, and the last element cut off at the other."""
    zero = zeros_like(context, first)
    parts = [data, zero] if context.attributes.integer("reverse") else [zero, data]
    shape = data.shape or ()
    extent = shape[axis] if axis < len(shape) else None
    longer = tuple((None if size is None else size + 1) if index == axis else size for index, size in enumerate(shape))
    joined = context.emit("CONCATENATION", parts, longer, Concatenation(axis), name="")
    rank = len(shape)
    order = ShapeTensor(tuple(rank if index == axis else index for index in range(rank)))
    inner = sizes.gather(context, sizes.shape_of(joined), sizes.vector(axis)) if extent is not None else None
    if inner is None:
        return _sliced(context, joined, (ShapeTensor((None,) * rank), ShapeTensor((1,) * rank)), data.shape)
    shorter = sizes.subtract(context, inner, sizes.vector(1))
    size = sizes.interlace(context, sizes.shape_of(joined), shorter, order)
    return _sliced(context, joined, (size, ShapeTensor((1,) * rank)), data.shape)
