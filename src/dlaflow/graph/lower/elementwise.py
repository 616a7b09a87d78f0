"""Element-wise operators on one, two or more operands: ELEMENTWISE, UNARY and SELECT layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dlaflow.graph.layer import Cast, ElementWise, Tensor, Unary
from dlaflow.graph.lower.broadcast import broadcast_shape, same_rank, squeeze, to_rank, unsqueeze
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shuffle import identity

Importer = Callable[[Context], None]


def elementwise(operation: str, *, boolean: bool = False) -> Importer:
    """An importer for ELEMENTWISE layers, one fewer than there are operands."""

    def run(context: Context) -> None:
        context.finish(combine(context, operation, boolean=boolean))

    return run


def combine(context: Context, operation: str, *, boolean: bool = False) -> Tensor:
    """Fold all inputs of the node with one operation."""
    operands = [context.operand(index) for index in range(len(context.node.input))]
    tensors = []
    rank = max((len(operand.tensor.shape or ()) for operand in operands), default=0)
    for operand in operands:
        tensor = context.as_tensor(operand)
        tensors.append(to_rank(context, tensor, rank))
    if len(tensors) == 1:
        return identity(context, tensors[0])
    result = tensors[0]
    first = _uniform(context, 0)
    for index, tensor in enumerate(tensors[1:], start=1):
        attributes = _attributes(operation, result, tensor, (first, _uniform(context, index)))
        shape = broadcast_shape([result.shape, tensor.shape])
        result = context.emit("ELEMENTWISE", [result, tensor], shape, attributes, dtype="bool" if boolean else None)
        first = False
    return result


def import_pow(context: Context) -> None:
    """Pow: one ELEMENTWISE; newer parsers cast a base and an exponent of different types first."""
    base, exponent = context.operand(0), context.operand(1)
    if not context.parser.names_every_layer or base.tensor.dtype == exponent.tensor.dtype:
        context.finish(combine(context, "POW"))
        return
    tensors = []
    for operand in (base, exponent):
        data = context.as_tensor(operand)
        to = Cast(base.tensor.dtype)
        tensors.append(context.helper("CAST", [data], data.shape, to, "ONNXTRT_castHelper", dtype=to.to))
    left, right = same_rank(context, tensors)
    attributes = _attributes("POW", left, right, (False, _uniform(context, 1)))
    context.finish(context.emit("ELEMENTWISE", [left, right], broadcast_shape([left.shape, right.shape]), attributes))


def _attributes(operation: str, left: Tensor, right: Tensor, uniform: tuple[bool, bool]) -> ElementWise:
    if right.constant:
        return ElementWise(operation, 1, uniform[1])
    if left.constant:
        return ElementWise(operation, 0, uniform[0])
    return ElementWise(operation)


def _uniform(context: Context, index: int) -> bool:
    """Whether an input is known and all its values are equal."""
    operand = context.operand(index)
    if not operand.tensor.constant:
        return False
    shape = operand.tensor.shape
    if shape is not None and all(size == 1 for size in shape):
        return True
    value = context.value(index)
    return value is not None and value.size > 0 and bool(np.all(value == value.reshape(-1)[0]))


def unary(operation: str, *, boolean: bool = False) -> Importer:
    """An importer for one UNARY layer."""

    def run(context: Context) -> None:
        data = context.tensor(0)
        integer = data.dtype in ("int32", "int64")
        if operation == "NEG" and integer and (data.dtype == "int32" or not context.parser.narrow_indices):
            context.finish(_negated(context, data))
            return
        lifted = data.shape == () and context.parser.lifts_scalars
        source = context.cast(data, "float32") if _works_in_floats(context, operation, data) else data
        given = unsqueeze(context, source, [0]) if lifted else source
        result = context.emit("UNARY", [given], given.shape, Unary(operation), dtype="bool" if boolean else None)
        if lifted:
            result = squeeze(context, result, [0])
        context.finish(context.cast(result, data.dtype) if source is not data else result)

    return run


def _works_in_floats(context: Context, operation: str, data: Tensor) -> bool:
    return operation == "ABS" and context.parser.casts_integer_abs and data.dtype in ("int32", "int64")


def _negated(context: Context, data: Tensor) -> Tensor:
    """Integers have no NEG: 0 - x."""
    zero = to_rank(context, context.constant((), data.dtype), len(data.shape or ()))
    return context.emit("ELEMENTWISE", [zero, data], data.shape, ElementWise("SUB", 0, True), dtype=data.dtype)


def or_equal(operation: str) -> Importer:
    """GreaterOrEqual and LessOrEqual: the comparison, EQUAL, OR."""

    def run(context: Context) -> None:
        strict = combine(context, operation, boolean=True)
        equal = combine(context, "EQUAL", boolean=True)
        context.finish(context.emit("ELEMENTWISE", [strict, equal], strict.shape, ElementWise("OR"), dtype="bool"))

    return run


def import_where(context: Context) -> None:
    """Where: one SELECT."""
    tensors = same_rank(context, [context.tensor(index) for index in range(3)])
    shape = broadcast_shape([tensor.shape for tensor in tensors])
    context.finish(context.emit("SELECT", tensors, shape, dtype=tensors[1].dtype))


def import_mean(context: Context) -> None:
    """Mean: a chain of SUM, times one over the count."""
    total = combine(context, "SUM")
    name = context.node_name if context.parser.names_every_layer else ""
    factor = context.constant((1,) * len(total.shape or ()), name=name)
    attributes = ElementWise("PROD", 1, True)
    context.finish(context.emit("ELEMENTWISE", [total, factor], total.shape, attributes, name=name))


def import_identity(context: Context) -> None:
    """Identity: one IDENTITY layer."""
    data = context.tensor(0)
    context.finish(context.emit("IDENTITY", [data], data.shape))


def import_dropout(context: Context) -> None:
    """Dropout: an IDENTITY at inference; with its mask output, the input itself and a comparison."""
    operand = context.operand(0)
    if len(context.node.output) > 1 and context.node.output[1]:
        data = context.as_tensor(operand)
        kind = "EQUAL" if context.model.opset >= 12 else "LESS"
        mask = context.emit("ELEMENTWISE", [data, data], data.shape, ElementWise(kind), name="", dtype="bool")
        context.finish(identity(context, data) if context.parser.int64 else operand, mask)
        return
    if operand.weights:
        context.finish(operand)
        return
    context.finish(identity(context, operand.tensor))
