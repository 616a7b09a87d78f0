"""Element-wise operators: ELEMENTWISE, UNARY and SELECT layers, one or a few for each."""

from __future__ import annotations

from functools import reduce

from dlaflow.graph.layer import Dims, ElementWise, Shuffle, Tensor, Unary
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context, Importer, Outputs
from dlaflow.graph.lower.helpers import (
    axis_length,
    broadcast_shape,
    combine,
    same_rank,
    squeeze,
    to_rank,
    unsqueeze,
    zeros_like,
)
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.shuffle import flattened, identity
from dlaflow.graph.lower.tensors import import_unknown

_TESTS = frozenset({"NOT", "ISINF", "ISNAN"})
"""UNARY operations whose result is boolean."""


def elementwise(operation: str) -> Importer:
    """An importer for ELEMENTWISE layers, one fewer than there are operands."""
    return lambda context: _folded(context, operation)


def _folded(context: Context, operation: str) -> Tensor:
    """All inputs of the node under one operation."""
    operands = [context.operand(index) for index in range(len(context.node.input))]
    rank = max((operand.tensor.rank for operand in operands), default=0)
    tensors = [to_rank(context, context.as_tensor(operand), rank) for operand in operands]
    if len(tensors) == 1:
        return identity(context, tensors[0])
    return reduce(lambda left, right: combine(context, operation, left, right), tensors)


def import_pow(context: Context) -> Outputs:
    """Pow: one ELEMENTWISE; newer parsers cast a base and an exponent of different types first."""
    base, exponent = context.operand(0), context.operand(1)
    if not context.parser.names_every_layer or base.tensor.dtype == exponent.tensor.dtype:
        return _folded(context, "POW")
    left, right = same_rank(
        context, [context.cast(context.as_tensor(each), base.tensor.dtype) for each in (base, exponent)]
    )
    return combine(context, "POW", left, right)


def unary(operation: str) -> Importer:
    """An importer for one UNARY layer."""
    return lambda context: _unary(context, operation)


def _unary(context: Context, operation: str) -> Outputs:
    data = context.tensor(0)
    integer = data.dtype in ("int32", "int64")
    if operation == "NEG" and integer and (data.dtype == "int32" or not context.parser.narrow_indices):
        zero = to_rank(context, context.constant((), data.dtype), data.rank)  # integers have no NEG: 0 - x
        return context.emit("ELEMENTWISE", [zero, data], data.shape, ElementWise("SUB", 0), dtype=data.dtype)
    lifted = data.shape == () and context.parser.lifts_scalars
    in_floats = operation == "ABS" and context.parser.casts_integer_abs and integer
    source = context.cast(data, "float32") if in_floats else data
    given = unsqueeze(context, source, [0]) if lifted else source
    dtype = "bool" if operation in _TESTS else None
    result = context.emit("UNARY", [given], given.shape, Unary(operation), dtype=dtype)
    if lifted:
        result = squeeze(context, result, [0])
    return context.cast(result, data.dtype) if in_floats else result


def or_equal(operation: str) -> Importer:
    """GreaterOrEqual and LessOrEqual: the comparison, EQUAL, OR."""

    def run(context: Context) -> Outputs:
        strict, equal = _folded(context, operation), _folded(context, "EQUAL")
        return context.emit("ELEMENTWISE", [strict, equal], strict.shape, ElementWise("OR"), dtype="bool")

    return run


def import_where(context: Context) -> Outputs:
    """Where: one SELECT."""
    tensors = same_rank(context, [context.tensor(index) for index in range(3)])
    shape = broadcast_shape([tensor.shape for tensor in tensors])
    return context.emit("SELECT", tensors, shape, dtype=tensors[1].dtype)


def import_mean(context: Context) -> Outputs:
    """Mean: a chain of SUM, times one over the count."""
    total = _folded(context, "SUM")
    name = context.node_name if context.parser.names_every_layer else ""
    factor = context.constant((1,) * total.rank, name=name)
    return context.emit("ELEMENTWISE", [total, factor], total.shape, ElementWise("PROD", 1), name=name)


def import_identity(context: Context) -> Outputs:
    """Identity: one IDENTITY layer."""
    data = context.tensor(0)
    return context.emit("IDENTITY", [data], data.shape)


def import_dropout(context: Context) -> Outputs:
    """Dropout: an IDENTITY at inference; with its mask output, the input itself and a comparison."""
    operand = context.operand(0)
    if len(context.node.output) > 1 and context.node.output[1]:
        data = context.as_tensor(operand)
        kind = "EQUAL" if context.model.opset >= 12 else "LESS"
        mask = context.emit("ELEMENTWISE", [data, data], data.shape, ElementWise(kind), name="", dtype="bool")
        return [identity(context, data) if context.parser.int64 else operand, mask]
    if operand.weights:
        return operand
    return identity(context, operand.tensor)


def import_celu(context: Context) -> Outputs:
    """Celu: max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    data = context.tensor(0)
    labels = [context.reserve() for _ in range(3)]
    zero, one, alpha = (to_rank(context, context.constant((), name=label), data.rank) for label in labels)
    ratio = combine(context, "DIV", data, alpha)
    raised = context.emit("UNARY", [ratio], data.shape, Unary("EXP"))
    positive = combine(context, "MAX", data, zero)
    shifted = combine(context, "SUB", raised, one)
    scaled = combine(context, "PROD", alpha, shifted)
    negative = combine(context, "MIN", zero, scaled)
    return combine(context, "SUM", positive, negative)


def import_shrink(context: Context) -> Outputs:
    """Shrink: two comparisons, two shifts and two SELECT layers, in 32 bits."""
    data = context.cast(context.tensor(0), "float32")
    high, low, bias, zero = (to_rank(context, context.constant(()), data.rank) for _ in range(4))
    above = combine(context, "GREATER", data, high)
    lowered = combine(context, "SUB", data, bias)
    outer = context.emit("SELECT", [above, lowered, zero], data.shape, name=context.further_name, dtype=data.dtype)
    below = combine(context, "LESS", data, low)
    raised = combine(context, "SUM", data, bias)
    whole = context.emit("SELECT", [below, raised, outer], data.shape, dtype=data.dtype)
    return context.cast(whole, context.output().dtype or "float32")


def import_mod(context: Context) -> Outputs:
    """Mod: x - y * floor(x / y); for floats the quotient is rounded towards zero by sign."""
    left, right = same_rank(context, [context.tensor(0), context.tensor(1)])
    if not left.dtype.startswith(("float", "bfloat")):
        operation = "DIV" if context.attributes.integer("fmod") else "FLOOR_DIV"
        quotient = combine(context, operation, left, right, "")
        whole = combine(context, "PROD", right, quotient, "")
        return combine(context, "SUB", left, whole)
    quotient = combine(context, "DIV", left, right)
    rounded = []
    for operation in ("FLOOR", "CEIL"):
        nearest = context.emit("UNARY", [quotient], quotient.shape, Unary(operation), name="")
        whole = combine(context, "PROD", right, nearest, "")
        rounded.append(combine(context, "SUB", left, whole, ""))
    same = _or_equal(context, "GREATER", quotient, zeros_like(context, quotient))
    return context.emit("SELECT", [same, *rounded], quotient.shape, dtype=left.dtype)


def _or_equal(context: Context, operation: str, left: Tensor, right: Tensor) -> Tensor:
    """GREATER or LESS, EQUAL, and OR of both."""
    strict, equal = combine(context, operation, left, right), combine(context, "EQUAL", left, right)
    return combine(context, "OR", strict, equal)


def import_is_nan(context: Context) -> Outputs:
    """IsNaN: one UNARY in newer releases; x == x and NOT before."""
    if context.parser.unary_is_nan:
        return _unary(context, "ISNAN")
    data = context.tensor(0)
    equal = context.emit("ELEMENTWISE", [data, data], data.shape, ElementWise("EQUAL"), dtype="bool")
    lifted = unsqueeze(context, equal, [0]) if data.shape == () and context.parser.lifts_scalars else equal
    result = context.emit("UNARY", [lifted], lifted.shape, Unary("NOT"), dtype="bool")
    return result if lifted is equal else squeeze(context, result, [0])


def import_is_inf(context: Context) -> Outputs:
    """IsInf: one UNARY; of one sign only, with a comparison and an AND beside it."""
    negative = bool(context.attributes.integer("detect_negative", 1))
    positive = bool(context.attributes.integer("detect_positive", 1))
    if negative and positive:
        return _unary(context, "ISINF")
    data = context.tensor(0)
    name = context.further_name
    zero = context.constant((1,) * data.rank)
    if context.parser.names_every_layer:
        zero = context.cast(zero, data.dtype)
    first = combine(context, "LESS" if negative else "GREATER", data, zero, name)
    if negative or positive:
        second = context.emit("UNARY", [data], data.shape, Unary("ISINF"), name=name, dtype="bool")
    else:
        second = combine(context, "LESS", data, zero, name)
    return combine(context, "AND", first, second, name)


def import_trilu(context: Context) -> Outputs:
    """Trilu: SELECT by a mask that compares row numbers with column numbers."""
    data = context.tensor(0)
    shape = data.shape
    if shape is None or len(shape) < 2:
        return context.emit("SELECT", [data], shape, dtype=data.dtype)
    rank = len(shape)
    dims = sizes.shape_of(data)
    ends = [sizes.gather(context, dims, sizes.vector(axis)) for axis in (rank - 1, rank - 2)]
    area = sizes.concat(context, ends[1], ends[0])
    rows, columns = (_numbers(context, area, shape[-2:]) for _ in range(2))
    zero = zeros_like(context, data)
    if len(context.node.input) == 2 and not context.is_absent(1):
        columns, shift = same_rank(context, [columns, context.tensor(1)])
        columns = combine(context, "SUB", columns, shift)
    if rank > 2:
        rows, columns = (unsqueeze(context, tensor, list(range(rank - 2))) for tensor in (rows, columns))
    keeps_upper = bool(context.attributes.integer("upper"))  # the parser's default, not ONNX's
    mask = _or_equal(context, "LESS" if keeps_upper else "GREATER", rows, columns)
    return context.emit("SELECT", [mask, data, zero], shape, name=context.further_name, dtype=data.dtype)


def _numbers(context: Context, area: ShapeTensor, shape: Dims) -> Tensor:
    """Numbers that grow along one axis: FILL, in newer releases with a cast to 64 bits."""
    made = context.emit("FILL", [], shape, name="", dtype="int32")
    draft = context.drafts[-1]
    first, step = context.constant((), "int32"), context.constant((2,), "int32")
    size = area.copy().materialise(context)
    draft.inputs = [size, first, step]
    made = Tensor(made.name, shape, "int32", all(tensor.constant for tensor in draft.inputs))
    draft.outputs = [made]
    if not context.parser.names_helpers:
        return made
    made = context.rename_layer(draft, context.names.layer("ONNXTRT_iota"))
    return context.cast(made, "int64")


def import_hardmax(context: Context) -> Outputs:
    """Hardmax: TOPK of one, ONE_HOT of its index; known since 9.2."""
    if not context.parser.names_helpers:
        return import_unknown(context)
    data = context.tensor(0)
    whole = data.shape
    flat = context.model.opset < 13
    axis = context.attributes.integer("axis", 1 if flat else -1)
    axis = axis + len(whole or ()) if axis < 0 else axis
    if flat and whole is not None:
        data = flattened(context, data, axis, None)
        axis = 1
    shape = tuple(1 if index == axis else size for index, size in enumerate(data.shape or ()))
    name = context.further_name
    context.emit("TOPK", [data], shape, name=name)
    line = squeeze(context, context.add_output(shape, "int32"), [axis])
    values = context.constant((2,), "int32")
    depth = axis_length(context, data, axis, scalar=True)
    hot = context.emit("ONE_HOT", [line, values, depth], data.shape, name=name, dtype="int32")
    if hot.shape != whole and whole is not None:
        attributes = Shuffle(reshape=whole, helper=True)
        hot = context.helper("SHUFFLE", [hot], whole, attributes, "ONNXTRT_reshapeTensor")
    return context.cast(hot, data.dtype)
