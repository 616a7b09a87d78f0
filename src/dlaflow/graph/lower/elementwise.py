"""Element-wise operators on one, two or more operands: ELEMENTWISE, UNARY and SELECT layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dlaflow.graph.layer import ElementWise, Tensor, Unary
from dlaflow.graph.lower.broadcast import broadcast_shape, same_rank
from dlaflow.graph.lower.context import Context, Operand

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
        tensors.append(same_rank(context, [tensor, _of_rank(tensor, rank)])[0])
    if len(tensors) == 1:
        return context.emit("IDENTITY", tensors, tensors[0].shape, name="ONNXTRT_identity")
    result = tensors[0]
    first = _uniform(context, 0)
    for index, tensor in enumerate(tensors[1:], start=1):
        attributes = _attributes(operation, result, tensor, (first, _uniform(context, index)))
        shape = broadcast_shape([result.shape, tensor.shape])
        result = context.emit("ELEMENTWISE", [result, tensor], shape, attributes, dtype="bool" if boolean else None)
        first = False
    return result


def _of_rank(tensor: Tensor, rank: int) -> Tensor:
    return Tensor(tensor.name, (1,) * rank, tensor.dtype)


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
        result = context.emit("UNARY", [data], data.shape, Unary(operation), dtype="bool" if boolean else None)
        context.finish(result)

    return run


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
    factor = context.constant((1,) * len(total.shape or ()), name=context.node_name)
    context.finish(context.emit("ELEMENTWISE", [total, factor], total.shape, ElementWise("PROD", 1, True)))


def import_identity(context: Context) -> None:
    """Identity: an IDENTITY layer; weights stay weights where the parser keeps them so."""
    operand = context.operand(0)
    if operand.weights and not context.parser.int64:
        context.finish(Operand(_named(operand.tensor, context.node.output[0]), weights=True))
        return
    data = context.as_tensor(operand)
    context.finish(context.emit("IDENTITY", [data], data.shape))


def _named(tensor: Tensor, name: str) -> Tensor:
    return Tensor(name, tensor.shape, tensor.dtype, True)


def import_dropout(context: Context) -> None:
    """Dropout: nothing at inference; newer parsers put an IDENTITY in its place."""
    operand = context.operand(0)
    if context.parser.names_every_layer:
        data = context.as_tensor(operand)
        context.finish(context.emit("IDENTITY", [data], data.shape, name="ONNXTRT_identity"))
        return
    context.finish(operand)
