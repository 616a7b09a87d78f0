"""Operators that the parser composes from several layers: Celu, Shrink, Mod, IsNaN, CumSum, Trilu, Hardmax, NMS."""

from __future__ import annotations

from dlaflow.graph.layer import Cast, ElementWise, Shuffle, Slice, Tensor, Unary
from dlaflow.graph.lower.axis_length import axis_length
from dlaflow.graph.lower.broadcast import same_rank, squeeze, to_rank
from dlaflow.graph.lower.context import SHAPE_CONSTANT, Context
from dlaflow.graph.lower.tensors import emit_all, import_unknown


def cast(context: Context, data: Tensor, dtype: str) -> Tensor:
    """The parser's own cast: CAST, or IDENTITY before 8.6."""
    kind = "CAST" if context.parser.cast_layers else "IDENTITY"
    return context.helper(kind, [data], data.shape, Cast(dtype), "ONNXTRT_castHelper", dtype=dtype)


def import_celu(context: Context) -> None:
    """Celu: max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    data = context.tensor(0)
    rank = len(data.shape or ())
    labels = [context.reserve("tmp_weight") for _ in range(3)]
    zero, one, alpha = (to_rank(context, context.constant((), name=label), rank) for label in labels)
    ratio = _combine(context, "DIV", data, alpha)
    raised = context.emit("UNARY", [ratio], data.shape, Unary("EXP"))
    positive = _combine(context, "MAX", data, zero)
    shifted = _combine(context, "SUB", raised, one)
    scaled = _combine(context, "PROD", alpha, shifted)
    negative = _combine(context, "MIN", zero, scaled)
    context.finish(_combine(context, "SUM", positive, negative))


def _combine(context: Context, operation: str, left: Tensor, right: Tensor, name: str | None = None) -> Tensor:
    constant = 1 if right.constant else 0 if left.constant else None
    shape = left.shape if constant != 0 else right.shape
    dtype = "bool" if operation in ("GREATER", "LESS", "EQUAL", "AND", "OR", "XOR") else None
    attributes = ElementWise(operation, constant, constant is not None)
    return context.emit("ELEMENTWISE", [left, right], shape, attributes, name=name, dtype=dtype)


def import_shrink(context: Context) -> None:
    """Shrink: two comparisons, two shifts and two SELECT layers, in 32 bits."""
    data = cast(context, context.tensor(0), "float32")
    rank = len(data.shape or ())
    values = [to_rank(context, context.constant(()), rank) for _ in range(4)]
    low, high, bias, zero = values
    below = _combine(context, "LESS", data, low)
    raised = _combine(context, "SUM", data, bias)
    inner = context.emit("SELECT", [below, raised, zero], data.shape, dtype=data.dtype)
    above = _combine(context, "GREATER", data, high)
    lowered = _combine(context, "SUB", data, bias)
    outer = context.emit("SELECT", [above, lowered, inner], data.shape, dtype=data.dtype)
    context.finish(cast(context, outer, context.output().dtype or "float32"))


def import_mod(context: Context) -> None:
    """Mod: x - y * floor(x / y); for floats the quotient is rounded towards zero by sign."""
    left, right = same_rank(context, [context.tensor(0), context.tensor(1)])
    floats = left.dtype.startswith(("float", "bfloat"))
    if not floats:
        operation = "DIV" if context.attributes.integer("fmod") else "FLOOR_DIV"
        quotient = _combine(context, operation, left, right, "")
        whole = _combine(context, "PROD", right, quotient, "")
        context.finish(_combine(context, "SUB", left, whole))
        return
    quotient = _combine(context, "DIV", left, right)
    rounded = []
    for operation in ("FLOOR", "CEIL"):
        nearest = context.emit("UNARY", [quotient], quotient.shape, Unary(operation), name="")
        whole = _combine(context, "PROD", right, nearest, "")
        rounded.append(_combine(context, "SUB", left, whole, ""))
    zero = cast(context, context.constant(()), left.dtype)
    rank = len(quotient.shape or ())
    if context.parser.names_helpers:
        context.constant((rank,), "int64", SHAPE_CONSTANT)
    ones = Shuffle(reshape=(1,) * rank, helper=True)
    flat = context.helper("SHUFFLE", [zero], (1,) * rank, ones, "ONNXTRT_ShapeShuffle")
    zeros = context.helper("SLICE", [flat], quotient.shape, Slice((), (), ()), "ONNXTRT_ShapeSlice")
    above, equal = _combine(context, "GREATER", quotient, zeros), _combine(context, "EQUAL", quotient, zeros)
    same = _combine(context, "OR", above, equal)
    context.finish(context.emit("SELECT", [same, *rounded], quotient.shape, dtype=left.dtype))


def import_is_nan(context: Context) -> None:
    """IsNaN: one UNARY in newer releases; x == x and NOT before."""
    data = context.tensor(0)
    if context.parser.unary_is_nan:
        context.finish(context.emit("UNARY", [data], data.shape, Unary("ISNAN"), dtype="bool"))
        return
    equal = context.emit("ELEMENTWISE", [data, data], data.shape, ElementWise("EQUAL"), dtype="bool")
    context.finish(context.emit("UNARY", [equal], data.shape, Unary("NOT"), dtype="bool"))


def import_cum_sum(context: Context) -> None:
    """CumSum: CUMULATIVE in newer releases; before, a loop along the axis."""
    data = context.tensor(0)
    if context.parser.squeeze_layers:
        context.finish(context.emit("CUMULATIVE", [data, context.tensor(1)], data.shape))
        return
    axis = (context.integers(1) or (0,))[0] % max(len(data.shape or ()), 1)
    rest = tuple(size for index, size in enumerate(data.shape or ()) if index != axis)
    length = axis_length(context, data, axis, scalar=True)
    context.emit("TRIP_LIMIT", [length], (), name="")
    context.drafts[-1].outputs.clear()
    step = context.emit("ITERATOR", [data], rest, name="")
    total = context.emit("RECURRENCE", [step], rest, name="")
    fresh = context.emit("ELEMENTWISE", [step, total], rest, ElementWise("SUM"), name="")
    context.finish(context.emit("LOOP_OUTPUT", [fresh, length], data.shape, name=""))


def import_trilu(context: Context) -> None:
    """Trilu: a mask from row and column numbers, and one SELECT."""
    data = context.tensor(0)
    zero = context.constant(data.shape or (), data.dtype)
    mask = context.constant(data.shape or (), "bool")
    context.finish(context.emit("SELECT", [mask, data, zero], data.shape, dtype=data.dtype))


def import_hardmax(context: Context) -> None:
    """Hardmax: TOPK of one, ONE_HOT of its index; known since 9.2."""
    if not context.parser.names_helpers:
        import_unknown(context)
        return
    data = context.tensor(0)
    rank = len(data.shape or ())
    axis = context.attributes.integer("axis", -1) % max(rank, 1)
    shape = tuple(1 if index == axis else size for index, size in enumerate(data.shape or ()))
    best = context.emit("TOPK", [data], shape)
    (indices,) = context.add_outputs(Tensor(context.further(best, 1), shape, "int32", best.constant))
    flat = squeeze(context, indices, [axis])
    values = context.constant((2,))
    depth = axis_length(context, data, axis, scalar=True)
    hot = context.emit("ONE_HOT", [flat, values, depth], data.shape, dtype="int32")
    context.finish(cast(context, hot, data.dtype))


def import_one_hot(context: Context) -> None:
    """OneHot: one ONE_HOT, its indices cast to 32 bits in releases with 64."""
    values = context.tensor(2)
    indices, depth = context.tensor(0), context.tensor(1)
    if context.parser.int64:
        indices, depth = cast(context, indices, "int32"), cast(context, depth, "int32")
    context.finish(context.emit("ONE_HOT", [indices, values, depth], context.output().shape, dtype=values.dtype))


def import_non_max_suppression(context: Context) -> None:
    """NonMaxSuppression: scores transposed, then NMS; a plugin before 8.5."""
    boxes, scores = context.tensor(0), context.tensor(1)
    native = context.parser.version >= (8, 5)
    limits = [_limit(context, index) for index in range(2, 5) if not context.is_absent(index)] if native else []
    shape = scores.shape
    moved = (shape[0], shape[2], shape[1]) if shape is not None and len(shape) == 3 else None
    scores = context.emit("SHUFFLE", [scores], moved, Shuffle(first_transpose=(0, 2, 1), helper=True))
    kind = "NMS" if native else "PLUGIN_V2"
    result = context.emit(kind, [boxes, scores, *limits], context.output().shape, dtype="int64")
    if context.parser.narrow_indices:
        result = cast(context, result, "int64")
    context.finish(result)


def _limit(context: Context, index: int) -> Tensor:
    """A limit of NonMaxSuppression as a scalar; with 64 bits the count is cut to what 32 bits hold."""
    operand = context.operand(index)
    if operand.weights:
        limit = context.emit("CONSTANT", (), (), name="", dtype=operand.tensor.dtype)
    else:
        limit = context.emit("SHUFFLE", [operand.tensor], (), Shuffle(helper=True), name="")
    if index == 2 and context.parser.int64:
        most = context.constant((), "int64")
        limit = context.emit("ELEMENTWISE", [limit, most], (), ElementWise("MIN", 1, True), name="")
        limit = cast(context, limit, "int32")
    return limit


def import_size(context: Context) -> None:
    """Size: shape arithmetic that folds."""
    emit_all(context, "SHAPE", [context.tensor(0)])
