"""Operators that join, pick or create tensors: Concat, Gather, Scatter, Shape, ConstantOfShape, Range and the like."""

from __future__ import annotations

from collections.abc import Callable

from dlaflow.graph.layer import Cast, Concatenation, Slice, Tensor
from dlaflow.graph.lower.context import Context, Operand
from dlaflow.graph.lower.filling import stretched

Importer = Callable[[Context], None]


def import_constant(context: Context) -> None:
    """Constant: weights; a layer comes where they are used."""
    out = context.output()
    for attribute in context.node.attribute:
        if attribute.name == "value":
            context.converts(attribute.t)
        elif attribute.name.startswith("value_"):
            context.reserve()
    context.finish(Operand(Tensor(out.name, out.shape, out.dtype, True), weights=True))


def import_concat(context: Context) -> None:
    """Concat: one CONCATENATION."""
    tensors = [context.tensor(index) for index in range(len(context.node.input))]
    out = context.output().shape
    rank = len(out or tensors[0].shape or ())
    axis = context.attributes.integer("axis", 1) % max(rank, 1)
    context.finish(context.emit("CONCATENATION", tensors, out, Concatenation(axis)))


def import_shape(context: Context) -> None:
    """Shape: SHAPE, a CAST in releases with 64 bits, a SLICE for a part of it; older ones give the whole."""
    data = context.as_tensor(context.operand(0))
    rank = len(data.shape) if data.shape is not None else None
    name = None if context.parser.names_every_layer else ""
    result = context.emit("SHAPE", [data], (rank,), dtype="int64" if context.parser.int64 else "int32")
    if context.parser.int64:
        result = context.emit("CAST", [result], (rank,), Cast("int64"), name=name, dtype="int64")
    if rank is not None and ("start" in context.attributes or "end" in context.attributes):
        first, last = _part(context, rank)
        if not context.parser.reads_opset_18:
            context.misreads()
        elif (first, last) != (0, rank):
            count = max(last - first, 0)
            result = context.emit("SLICE", [result], (count,), Slice((first,), (count,), (1,)), name=name)
    context.finish(result)


def _part(context: Context, rank: int) -> tuple[int, int]:
    """The first and the last dimension that an opset-15 Shape asks for."""
    given = context.attributes.integer("start", 0), context.attributes.integer("end", rank)
    first, last = (min(max(value + rank if value < 0 else value, 0), rank) for value in given)
    return first, last


def import_constant_of_shape(context: Context) -> None:
    """ConstantOfShape: its value as a constant, brought to the rank and stretched by a SLICE."""
    shape = context.tensor(0)
    out = context.output()
    if context.parser.checks_beforehand:
        context.reserve()  # its check makes the default value once more
    label = context.reserve()  # the default value, made before the attribute is looked at
    for attribute in context.node.attribute:
        if attribute.name == "value":
            context.converts(attribute.t)
            label = ""
    if context.parser.names_every_layer:
        label = context.names.refittable()
    value = context.emit("CONSTANT", (), (1,), name=label, dtype=out.dtype)
    context.holds(1)
    context.finish(stretched(context, value, shape, out.shape))


def gathered(context: Context) -> None:
    """Gather, GatherND, GatherElements: one GATHER, 64-bit indices cast where the release has them."""
    data, indices = context.tensor(0), context.tensor(1)
    if context.parser.int64 and data.dtype != "int64" and indices.dtype != "int32":
        indices = context.cast(indices, "int32")
    context.finish(context.emit("GATHER", [data, indices], context.output().shape))


def layer(kind: str) -> Importer:
    """An importer for one layer of `kind` that takes all inputs and has the node's outputs."""

    def run(context: Context) -> None:
        count = len(context.node.input)
        tensors = [context.tensor(index) for index in range(count) if not context.is_absent(index)]
        emit_all(context, kind, tensors)

    return run


def emit_all(context: Context, kind: str, tensors: list[Tensor]) -> None:
    """One layer of `kind` with as many outputs as the node has."""
    first = context.emit(kind, tensors, context.output(0).shape, dtype=context.output(0).dtype or None)
    results = [first]
    for index in range(1, len(context.node.output)):
        out = context.output(index)
        results.extend(context.add_outputs(Tensor(context.further(first, index), out.shape, out.dtype, first.constant)))
    context.finish(*results)


def import_unknown(context: Context) -> None:
    """An operator that no importer of TensorRT's is known for."""
    if context.node.op_type not in context.unknown_ops:
        context.unknown_ops.append(context.node.op_type)
    count = len(context.node.input)
    emit_all(context, "UNKNOWN", [context.tensor(index) for index in range(count) if not context.is_absent(index)])
