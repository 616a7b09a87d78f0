"""ReduceX: one REDUCE, with the squares, roots and logarithms of the composed ones; ArgMax and TopK."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dlaflow.graph.layer import Dims, ElementWise, Reduce, Slice, Tensor, Unary
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context, Importer, Outputs
from dlaflow.graph.lower.helpers import squeeze, stretched, to_rank, to_scalar, unsqueeze
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.shuffle import identity
from dlaflow.graph.lower.slices import decoded


def reduction(lowered: Callable[[Context], Tensor]) -> Importer:
    """An importer for a reduction that `lowered` puts together; without axes it may do nothing, as opset 18 has it."""

    def run(context: Context) -> Outputs:
        asked = bool(context.attributes.integer("noop_with_empty_axes")) and context.parser.reads_opset_18
        if not asked or _axes(context):
            return lowered(context)
        if context.parser.names_every_layer:
            return context.operand(0)
        return identity(context, context.tensor(0))

    return run


def reduce(operation: str) -> Importer:
    """An importer for one REDUCE."""
    return reduction(lambda context: _reduced(context, context.tensor(0), operation))


def _axes(context: Context) -> tuple[int, ...] | None:
    """The axes that the parser sees: those of an input only where its importer hands them on."""
    given = context.attributes.integers("axes")
    if given is not None:
        return given
    return context.integers(1) if _reads_axes_input(context) else None


def _reads_axes_input(context: Context) -> bool:
    operator = context.node.op_type
    if operator in ("ReduceSum", "ReduceLogSum"):
        return True
    if operator == "ReduceLogSumExp":
        return context.parser.names_every_layer
    return context.parser.reads_opset_18


def _reduced(context: Context, data: Tensor, operation: str) -> Tensor:
    if not context.parser.reads_opset_18:
        context.misreads()  # axes that are an input, or that are empty, are all axes to it
    elif not context.is_absent(1) and not _reads_axes_input(context):
        context.misreads()
    shape: Dims = data.shape or ()
    rank = len(shape)
    axes = tuple(sorted(axis % max(rank, 1) for axis in (_axes(context) or range(rank))))
    keep = bool(context.attributes.integer("keepdims", 1))
    if keep:
        out: Dims = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    else:
        out = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return context.emit("REDUCE", [data], out if data.shape is not None else None, Reduce(operation, axes, keep))


def sum_of_magnitudes(context: Context) -> Tensor:
    """ReduceL1: ABS, REDUCE SUM."""
    return _reduced(context, _unary(context, "ABS", context.tensor(0)), "SUM")


def sum_of_squares(context: Context) -> Tensor:
    """ReduceSumSquare: square, REDUCE SUM."""
    data = context.tensor(0)
    name = context.further_name
    return _reduced(
        context, context.emit("ELEMENTWISE", [data, data], data.shape, ElementWise("PROD"), name=name), "SUM"
    )


def length(context: Context) -> Tensor:
    """ReduceL2: square, REDUCE SUM, SQRT."""
    return _unary(context, "SQRT", sum_of_squares(context))


def log_sum(context: Context) -> Tensor:
    """ReduceLogSum: REDUCE SUM, LOG."""
    return _unary(context, "LOG", _reduced(context, context.tensor(0), "SUM"))


def log_sum_exp(context: Context) -> Tensor:
    """ReduceLogSumExp: EXP, REDUCE SUM, LOG; newer parsers take the maximum out first."""
    data = context.tensor(0)
    if not context.parser.names_every_layer:
        return _unary(context, "LOG", _reduced(context, _unary(context, "EXP", data), "SUM"))
    largest = _reduced(context, data, "MAX")
    infinite = context.emit("UNARY", [largest], largest.shape, Unary("ISINF"), dtype="bool")
    zero = to_rank(context, context.constant((), name=context.reserve()), largest.rank)
    safe = context.emit("SELECT", [infinite, zero, largest], largest.shape, dtype=data.dtype)
    shifted = context.emit("ELEMENTWISE", [data, safe], data.shape, ElementWise("SUB"))
    logarithm = _unary(context, "LOG", _reduced(context, _unary(context, "EXP", shifted), "SUM"))
    return context.emit("ELEMENTWISE", [logarithm, largest], logarithm.shape, ElementWise("SUM"))


def _unary(context: Context, operation: str, data: Tensor) -> Tensor:
    return context.emit("UNARY", [data], data.shape, Unary(operation))


def import_arg(context: Context) -> Outputs:
    """ArgMax and ArgMin: TOPK of one, its indices, squeezed when the axis does not stay."""
    data = context.tensor(0)
    if context.parser.casts_arg_input and data.dtype in ("int32", "int64"):
        data = context.cast(data, "float32")
    rank = data.rank
    axis = context.attributes.integer("axis", 0) % max(rank, 1)
    shape = tuple(1 if index == axis else size for index, size in enumerate(data.shape or ()))
    last = bool(context.attributes.integer("select_last_index")) and rank > 0
    context.emit("TOPK", [_flipped(context, data, axis) if last else data], shape)
    indices = context.add_output(shape, "int32")
    if context.parser.int64:
        indices = context.cast(indices, "int32" if context.parser.names_every_layer else "int64")
    if last:
        indices = _counted_from_the_start(context, data, indices, axis)
    if not context.attributes.integer("keepdims", 1):
        indices = squeeze(context, indices, [axis])
    if context.parser.int64:
        indices = context.cast(indices, "int64")
    return indices


def _flipped(context: Context, data: Tensor, axis: int) -> Tensor:
    """The data backwards along the axis, so that the last of equal values comes first."""
    dims = sizes.shape_of(data)
    subscripts = sizes.replacing(data.rank, axis)
    starts = sizes.interlace(context, ShapeTensor((0,) * data.rank), sizes.vector(-1), subscripts)
    ends = sizes.interlace(context, dims, sizes.vector(-(2**31)), subscripts)
    steps = sizes.interlace(context, ShapeTensor((1,) * data.rank), sizes.vector(-1), subscripts)
    given = decoded(context, dims, (starts, ends, steps))
    made = sizes.add_slice(context, data, given, Slice())
    return context.replace(made, replace(made, shape=data.shape))


def _counted_from_the_start(context: Context, data: Tensor, indices: Tensor, axis: int) -> Tensor:
    """length - index - 1."""
    shape = sizes.shape_of(indices)
    length = sizes.gather(context, sizes.shape_of(data), sizes.vector(axis))
    # The compiler evaluates the parser's arguments from the last to the first.
    target = shape.materialise(context)
    whole = stretched(context, length.materialise(context), target, indices.shape)
    ones = stretched(context, sizes.vector(1).materialise(context), target, indices.shape)
    for other in (indices, ones):
        whole = context.emit("ELEMENTWISE", [whole, other], indices.shape, ElementWise("SUB"))
    return whole


def import_top_k(context: Context) -> Outputs:
    """TopK: one TOPK with values and indices; a vector gets a second dimension for it."""
    data = context.tensor(0)
    values, where = context.output(0), context.output(1)
    line = data.shape is not None and len(data.shape) == 1
    lifted = unsqueeze(context, data, [1]) if line else data
    shape = (*values.shape, 1) if line and values.shape is not None else values.shape
    largest = context.emit("TOPK", [lifted], shape)
    indices = context.add_output(shape, where.dtype or "int64")
    draft = context.drafts[-1]
    if context.parser.cast_layers and not context.is_absent(1):
        draft.inputs.append(to_scalar(context, context.tensor(1)))
    if line:
        largest, indices = squeeze(context, largest, [1]), squeeze(context, indices, [1])
    if context.parser.narrow_indices:
        indices = context.cast(indices, "int64")
    return [largest, indices]
