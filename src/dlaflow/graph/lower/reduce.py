"""ReduceX: one REDUCE, with the squares, roots and logarithms of the composed ones; ArgMax and TopK."""

from __future__ import annotations

from collections.abc import Callable

from dlaflow.graph.layer import Cast, Dims, ElementWise, Reduce, Shuffle, Tensor, Unary
from dlaflow.graph.lower.broadcast import squeeze, to_rank, unsqueeze
from dlaflow.graph.lower.context import Context

Importer = Callable[[Context], None]


def reduce(operation: str) -> Importer:
    """An importer for one REDUCE."""

    def run(context: Context) -> None:
        operand = context.operand(0)
        if _does_nothing(context):
            context.finish(operand)
            return
        context.finish(_reduced(context, context.as_tensor(operand), operation))

    return run


def _does_nothing(context: Context) -> bool:
    return bool(context.attributes.integer("noop_with_empty_axes")) and not _axes(context)


def _axes(context: Context) -> tuple[int, ...] | None:
    given = context.attributes.integers("axes")
    return given if given is not None else context.integers(1)


def _reduced(context: Context, data: Tensor, operation: str) -> Tensor:
    shape: Dims = data.shape or ()
    rank = len(shape)
    axes = tuple(sorted(axis % max(rank, 1) for axis in (_axes(context) or range(rank))))
    keep = bool(context.attributes.integer("keepdims", 1))
    if keep:
        out: Dims = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    else:
        out = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return context.emit("REDUCE", [data], out if data.shape is not None else None, Reduce(operation, axes, keep))


def import_reduce_l1(context: Context) -> None:
    """ReduceL1: ABS, REDUCE SUM."""
    data = context.tensor(0)
    context.finish(_reduced(context, context.emit("UNARY", [data], data.shape, Unary("ABS")), "SUM"))


def import_reduce_l2(context: Context) -> None:
    """ReduceL2: square, REDUCE SUM, SQRT."""
    total = _sum_of_squares(context)
    context.finish(context.emit("UNARY", [total], total.shape, Unary("SQRT")))


def import_reduce_sum_square(context: Context) -> None:
    """ReduceSumSquare: square, REDUCE SUM."""
    context.finish(_sum_of_squares(context))


def _sum_of_squares(context: Context) -> Tensor:
    data = context.tensor(0)
    name = None if context.parser.names_every_layer else ""
    square = context.emit("ELEMENTWISE", [data, data], data.shape, ElementWise("PROD"), name=name)
    return _reduced(context, square, "SUM")


def import_reduce_log_sum(context: Context) -> None:
    """ReduceLogSum: REDUCE SUM, LOG."""
    total = _reduced(context, context.tensor(0), "SUM")
    context.finish(context.emit("UNARY", [total], total.shape, Unary("LOG")))


def import_reduce_log_sum_exp(context: Context) -> None:
    """ReduceLogSumExp: EXP, REDUCE SUM, LOG; newer parsers take the maximum out first."""
    data = context.tensor(0)
    if not context.parser.names_every_layer:
        raised = context.emit("UNARY", [data], data.shape, Unary("EXP"))
        total = _reduced(context, raised, "SUM")
        context.finish(context.emit("UNARY", [total], total.shape, Unary("LOG")))
        return
    largest = _reduced(context, data, "MAX")
    infinite = context.emit("UNARY", [largest], largest.shape, Unary("ISINF"), dtype="bool")
    zero = to_rank(context, context.constant((), name=context.reserve("tmp_weight")), len(largest.shape or ()))
    safe = context.emit("SELECT", [infinite, zero, largest], largest.shape, dtype=data.dtype)
    shifted = context.emit("ELEMENTWISE", [data, safe], data.shape, ElementWise("SUB"))
    raised = context.emit("UNARY", [shifted], data.shape, Unary("EXP"))
    total = _reduced(context, raised, "SUM")
    logarithm = context.emit("UNARY", [total], total.shape, Unary("LOG"))
    context.finish(context.emit("ELEMENTWISE", [logarithm, largest], total.shape, ElementWise("SUM")))


def import_arg(context: Context) -> None:
    """ArgMax and ArgMin: TOPK of one, its indices, squeezed when the axis does not stay."""
    data = context.tensor(0)
    rank = len(data.shape or ())
    axis = context.attributes.integer("axis", 0) % max(rank, 1)
    shape = tuple(1 if index == axis else size for index, size in enumerate(data.shape or ()))
    best = context.emit("TOPK", [data], shape)
    (indices,) = context.add_outputs(Tensor(context.further(best, 1), shape, "int32", best.constant))
    if context.parser.names_every_layer:
        indices = context.helper("CAST", [indices], shape, Cast("int32"), "ONNXTRT_castHelper")
    if not context.attributes.integer("keepdims", 1):
        indices = squeeze(context, indices, [axis])
    if context.parser.int64:
        indices = context.helper("CAST", [indices], indices.shape, Cast("int64"), "ONNXTRT_castHelper")
    context.finish(indices)


def import_top_k(context: Context) -> None:
    """TopK: one TOPK with values and indices; a vector gets a second dimension for it."""
    data = context.tensor(0)
    values, where = context.output(0), context.output(1)
    line = data.shape is not None and len(data.shape) == 1
    lifted = unsqueeze(context, data, [1]) if line else data
    shape = (*values.shape, 1) if line and values.shape is not None else values.shape
    largest = context.emit("TOPK", [lifted], shape)
    (indices,) = context.add_outputs(
        Tensor(context.further(largest, 1), shape, where.dtype or "int64", largest.constant)
    )
    draft = context.drafts[-1]
    if context.parser.cast_layers and not context.is_absent(1):
        count = context.tensor(1)
        scalar = Shuffle(helper=True)
        if count.shape != ():
            count = context.helper("SHUFFLE", [count], (), scalar, "ONNXTRT_convertToScalar")
        draft.inputs.append(count)
    if line:
        largest, indices = squeeze(context, largest, [1]), squeeze(context, indices, [1])
    if context.parser.narrow_indices:
        indices = context.helper("CAST", [indices], indices.shape, Cast("int64"), "ONNXTRT_castHelper", dtype="int64")
    context.finish(largest, indices)
