"""Operators that the parser composes from several layers: Celu, Shrink, Mod, IsNaN, IsInf, Trilu, Hardmax."""

from __future__ import annotations

from dlaflow.graph.layer import Dims, ElementWise, Shuffle, Tensor, Unary
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.axis_length import axis_length
from dlaflow.graph.lower.broadcast import broadcast_shape, same_rank, squeeze, to_rank, unsqueeze
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.elementwise import unary
from dlaflow.graph.lower.filling import zeros_like
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.shuffle import flattened
from dlaflow.graph.lower.tensors import import_unknown

_BOOLEAN = frozenset({"GREATER", "LESS", "EQUAL", "AND", "OR", "XOR"})
_is_infinite = unary("ISINF", boolean=True)


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
    shape = broadcast_shape([left.shape, right.shape])
    dtype = "bool" if operation in _BOOLEAN else None
    attributes = ElementWise(operation, constant, constant is not None)
    return context.emit("ELEMENTWISE", [left, right], shape, attributes, name=name, dtype=dtype)


def import_shrink(context: Context) -> None:
    """Shrink: two comparisons, two shifts and two SELECT layers, in 32 bits."""
    data = context.cast(context.tensor(0), "float32")
    rank = len(data.shape or ())
    high, low, bias, zero = (to_rank(context, context.constant(()), rank) for _ in range(4))
    above = _combine(context, "GREATER", data, high)
    lowered = _combine(context, "SUB", data, bias)
    name = None if context.parser.names_every_layer else ""
    outer = context.emit("SELECT", [above, lowered, zero], data.shape, name=name, dtype=data.dtype)
    below = _combine(context, "LESS", data, low)
    raised = _combine(context, "SUM", data, bias)
    whole = context.emit("SELECT", [below, raised, outer], data.shape, dtype=data.dtype)
    context.finish(context.cast(whole, context.output().dtype or "float32"))


def import_mod(context: Context) -> None:
    """Mod: x - y * floor(x / y); for floats the quotient is rounded towards zero by sign."""
    left, right = same_rank(context, [context.tensor(0), context.tensor(1)])
    if not left.dtype.startswith(("float", "bfloat")):
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
    same = _or_equal(context, "GREATER", quotient, zeros_like(context, quotient))
    context.finish(context.emit("SELECT", [same, *rounded], quotient.shape, dtype=left.dtype))


def _or_equal(context: Context, operation: str, left: Tensor, right: Tensor) -> Tensor:
    """GREATER or LESS, EQUAL, and OR of both."""
    strict, equal = _combine(context, operation, left, right), _combine(context, "EQUAL", left, right)
    return _combine(context, "OR", strict, equal)


def import_is_nan(context: Context) -> None:
    """IsNaN: one UNARY in newer releases; x == x and NOT before."""
    if context.parser.unary_is_nan:
        unary("ISNAN", boolean=True)(context)
        return
    data = context.tensor(0)
    equal = context.emit("ELEMENTWISE", [data, data], data.shape, ElementWise("EQUAL"), dtype="bool")
    lifted = unsqueeze(context, equal, [0]) if data.shape == () and context.parser.lifts_scalars else equal
    result = context.emit("UNARY", [lifted], lifted.shape, Unary("NOT"), dtype="bool")
    context.finish(result if lifted is equal else squeeze(context, result, [0]))


def import_is_inf(context: Context) -> None:
    """IsInf: one UNARY; of one sign only, with a comparison and an AND beside it."""
    negative = bool(context.attributes.integer("detect_negative", 1))
    positive = bool(context.attributes.integer("detect_positive", 1))
    if negative and positive:
        _is_infinite(context)
        return
    data = context.tensor(0)
    name = None if context.parser.names_every_layer else ""
    zero = context.constant((1,) * len(data.shape or ()))
    if context.parser.names_every_layer:
        zero = context.cast(zero, data.dtype)
    first = _combine(context, "LESS" if negative else "GREATER", data, zero, name)
    if negative or positive:
        second = context.emit("UNARY", [data], data.shape, Unary("ISINF"), name=name, dtype="bool")
    else:
        second = _combine(context, "LESS", data, zero, name)
    context.finish(_combine(context, "AND", first, second, name))


def import_trilu(context: Context) -> None:
    """Trilu: SELECT by a mask that compares row numbers with column numbers."""
    data = context.tensor(0)
    shape = data.shape
    if shape is None or len(shape) < 2:
        context.finish(context.emit("SELECT", [data], shape, dtype=data.dtype))
        return
    rank = len(shape)
    dims = sizes.shape_of(data)
    ends = [sizes.gather(context, dims, sizes.vector(axis)) for axis in (rank - 1, rank - 2)]
    area = sizes.concat(context, ends[1], ends[0])
    rows, columns = (_numbers(context, area, shape[-2:]) for _ in range(2))
    zero = zeros_like(context, data)
    if len(context.node.input) == 2 and not context.is_absent(1):
        columns, shift = same_rank(context, [columns, context.tensor(1)])
        columns = _combine(context, "SUB", columns, shift)
    if rank > 2:
        rows, columns = (unsqueeze(context, tensor, list(range(rank - 2))) for tensor in (rows, columns))
    keeps_upper = bool(context.attributes.integer("upper"))  # the parser's default, not ONNX's
    mask = _or_equal(context, "LESS" if keeps_upper else "GREATER", rows, columns)
    name = None if context.parser.names_every_layer else ""
    context.finish(context.emit("SELECT", [mask, data, zero], shape, name=name, dtype=data.dtype))


def _numbers(context: Context, area: ShapeTensor, shape: Dims) -> Tensor:
    """Numbers that grow along one axis: FILL, in newer releases with a cast to 64 bits."""
    made = context.emit("FILL", [], shape, name="", dtype="int32")
    draft = context.drafts[-1]
    first, step = context.constant((), "int32"), context.constant((2,), "int32")
    size = ShapeTensor(area.values, area.rank, area.tensor, area.depth).materialise(context)
    draft.inputs = [size, first, step]
    made = Tensor(made.name, shape, "int32", all(tensor.constant for tensor in draft.inputs))
    draft.outputs = [made]
    if not context.parser.names_helpers:
        return made
    made = context.rename_layer(draft, context.names.layer("ONNXTRT_iota"))
    return context.cast(made, "int64")


def import_hardmax(context: Context) -> None:
    """Hardmax: TOPK of one, ONE_HOT of its index; known since 9.2."""
    if not context.parser.names_helpers:
        import_unknown(context)
        return
    data = context.tensor(0)
    whole = data.shape
    flat = context.model.opset < 13
    axis = context.attributes.integer("axis", 1 if flat else -1)
    axis = axis + len(whole or ()) if axis < 0 else axis
    if flat and whole is not None:
        data = flattened(context, data, axis, None)
        axis = 1
    shape = tuple(1 if index == axis else size for index, size in enumerate(data.shape or ()))
    name = None if context.parser.names_every_layer else ""
    best = context.emit("TOPK", [data], shape, name=name)
    (indices,) = context.add_outputs(Tensor(context.further(best, 1), shape, "int32", best.constant))
    line = squeeze(context, indices, [axis])
    values = context.constant((2,), "int32")
    depth = axis_length(context, data, axis, scalar=True)
    hot = context.emit("ONE_HOT", [line, values, depth], data.shape, name=name, dtype="int32")
    if hot.shape != whole and whole is not None:
        attributes = Shuffle(reshape=whole, helper=True)
        hot = context.helper("SHUFFLE", [hot], whole, attributes, "ONNXTRT_reshapeTensor")
    context.finish(context.cast(hot, data.dtype))
