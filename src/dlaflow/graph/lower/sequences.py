"""CumSum and ReverseSequence: one layer each in newer releases; before, a loop or slices along the axis."""

from __future__ import annotations

from dlaflow.graph.layer import Concatenation, Dims, ElementWise, Slice, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context, Outputs
from dlaflow.graph.lower.helpers import axis_length, open_length, squeeze, unsqueeze, zeros_like
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.sizes import parser_knows

_MOST = 4096
"""A larger batch is lowered as one layer: nobody reads twenty layers for each of its elements."""


def import_cum_sum(context: Context) -> Outputs:
    """CumSum: CUMULATIVE, or a loop."""
    data = context.tensor(0)
    if context.parser.native_cumulative:
        return context.emit("CUMULATIVE", [data, context.tensor(1)], data.shape)
    rank = data.rank
    axis = (context.integers(1) or (0,))[0] % max(rank, 1)
    first = _first_slice(context, data, axis)
    if context.attributes.integer("exclusive"):
        data = _shifted(context, data, first, axis)
    rest = None if data.shape is None else tuple(size for index, size in enumerate(data.shape) if index != axis)
    length = axis_length(context, data, axis, scalar=True)
    context.emit_last("TRIP_LIMIT", length)
    step = context.emit("ITERATOR", [data], rest, name="")
    zero = zeros_like(context, squeeze(context, first, [axis]))
    total = context.emit("RECURRENCE", [zero], rest, name="")
    state = context.drafts[-1]
    fresh = context.emit("ELEMENTWISE", [step, total], rest, ElementWise("SUM"), name="")
    state.inputs.append(fresh)
    return context.emit("LOOP_OUTPUT", [fresh, length], data.shape, name="")


def _first_slice(context: Context, data: Tensor, axis: int) -> Tensor:
    """One element along the axis, all of the others: its size and strides are put together piece by piece."""
    shape: Dims = data.shape or (None,)
    whole = open_length(context, data, axis)
    size = sizes.vector(1) if axis == 0 else open_length(context, data, 0)
    strides = whole if axis == 0 else sizes.vector(1)
    for index in range(1, len(shape)):
        if index == axis:
            strides = sizes.concat(context, strides, whole)
            size = sizes.concat(context, size, sizes.vector(1))
        else:
            extent = open_length(context, data, index)
            strides = sizes.concat(context, strides, sizes.vector(1))
            size = sizes.concat(context, size, extent)
    small = tuple(1 if index == axis else extent for index, extent in enumerate(shape))
    return _sliced(context, data, (size, strides), None if data.shape is None else small)


def _sliced(context: Context, data: Tensor, given: tuple[ShapeTensor, ShapeTensor], shape: Dims | None) -> Tensor:
    """A helper SLICE whose size and strides are inputs where the parser does not know them."""
    made = context.emit("SLICE", [data], shape, Slice(), name="")
    draft = context.drafts[-1]
    draft.inputs += [part.materialise(context) for part in given if not part.known]
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
    size = ShapeTensor((None,) * rank)
    if extent is not None:
        inner = sizes.gather(context, sizes.shape_of(joined), sizes.vector(axis))
        shorter = sizes.subtract(context, inner, sizes.vector(1))
        size = sizes.interlace(context, sizes.shape_of(joined), shorter, sizes.replacing(rank, axis))
    return _sliced(context, joined, (size, ShapeTensor((1,) * rank)), data.shape)


def import_reverse_sequence(context: Context) -> Outputs:
    """REVERSE_SEQUENCE, or slices of each element."""
    data, lengths = context.tensor(0), context.tensor(1)
    batch_axis = context.attributes.integer("batch_axis", 1)
    count = _count(data, lengths, batch_axis)
    if context.parser.native_reverse_sequence or count is None or not 0 < count <= _MOST:
        return context.emit("REVERSE_SEQUENCE", [data, lengths], data.shape)
    parts = [_turned(context, (data, lengths), batch_axis, number) for number in range(count)]
    return context.emit("CONCATENATION", parts, data.shape, Concatenation(batch_axis), name="")


def _count(data: Tensor, lengths: Tensor, axis: int) -> int | None:
    """How many sequences there are, None when the parser does not know it."""
    if data.shape is None or len(data.shape) < 2 or axis not in (0, 1):
        return None
    size = lengths.shape[0] if lengths.shape else data.shape[axis]
    size = size if parser_knows(size) else data.shape[axis]
    return size if parser_knows(size) else None


def _turned(context: Context, given: tuple[Tensor, Tensor], axis: int, number: int) -> Tensor:
    """One sequence: its first part backwards, the rest as it is."""
    data, lengths = given
    line = squeeze(context, _cut_out(context, data, axis), [axis])
    length = context.emit("SLICE", [lengths], (1,), Slice((number,), (1,), (1,)), name="")
    until = ShapeTensor((None,), tensor=length)
    one = context.constant((1,), "int32")
    last = context.emit("ELEMENTWISE", [length, one], (1,), ElementWise("SUB", 1), name="")
    start = _padded(context, ShapeTensor((None,), tensor=last), line)
    known = context.integers(1)
    size = known[number] if known is not None and number < len(known) else None
    head = _slice(context, line, [start, _with_rest(context, until, line)], size)
    start = _padded(context, ShapeTensor((None,), tensor=length), line)
    whole = axis_length(context, line, 0, wide=True)
    left = context.emit("ELEMENTWISE", [whole, length], (1,), ElementWise("SUB"), name="")
    total = (line.shape or (None,))[0]
    size = None if size is None or total is None else total - size
    tail = _slice(context, line, [start, _with_rest(context, ShapeTensor((None,), tensor=left), line)], size)
    joined = context.emit("CONCATENATION", [head, tail], line.shape, Concatenation(0), name="")
    return unsqueeze(context, joined, [axis])


def _cut_out(context: Context, data: Tensor, axis: int) -> Tensor:
    """The elements of one sequence, with the batch axis still there."""
    shape: Dims = data.shape or ()
    other = open_length(context, data, 1 - axis)
    pair = (sizes.vector(1), other) if axis == 0 else (other, sizes.vector(1))
    size = sizes.concat(context, *pair)
    for index in range(2, len(shape)):
        size = sizes.concat(context, size, open_length(context, data, index))
    small = tuple(1 if index == axis else extent for index, extent in enumerate(shape))
    return context.emit("SLICE", [data, size.materialise(context)], small, Slice(), name="")


def _padded(context: Context, start: ShapeTensor, line: Tensor) -> ShapeTensor:
    """A start along the first axis, zeros along the others."""
    return sizes.concat(context, start, ShapeTensor((0,) * (line.rank - 1)))


def _with_rest(context: Context, size: ShapeTensor, line: Tensor) -> ShapeTensor:
    """A size along the first axis, all of the others."""
    for index in range(1, line.rank):
        size = sizes.concat(context, size, open_length(context, line, index))
    return size


def _slice(context: Context, line: Tensor, bounds: list[ShapeTensor], size: int | None) -> Tensor:
    """A part of the first axis."""
    shape: Dims = (size, *(line.shape or ())[1:])
    tensors = [bound.materialise(context) for bound in bounds]
    return context.emit("SLICE", [line, *tensors], shape, Slice(), name="")
