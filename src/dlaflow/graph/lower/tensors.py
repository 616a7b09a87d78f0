"""Operators that join, pick or create tensors: Concat, Gather, Scatter, Shape, ConstantOfShape, Range and the like."""

from __future__ import annotations

from collections.abc import Callable

from dlaflow.graph.layer import Cast, Concatenation, Shuffle, Slice, Tensor
from dlaflow.graph.lower.context import Context, Operand

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
    """Shape: SHAPE, and in newer releases the CAST to 64 bits that belongs to it."""
    operand = context.operand(0)
    data = context.as_tensor(operand)
    rank = len(data.shape) if data.shape is not None else None
    result = context.emit("SHAPE", [data], (rank,), dtype="int64" if context.parser.int64 else "int32")
    if context.parser.int64:
        result = context.emit("CAST", [result], (rank,), Cast("int64"), dtype="int64")
    context.finish(result)


def import_constant_of_shape(context: Context) -> None:
    """ConstantOfShape: its value as a constant, brought to the rank and stretched by a SLICE."""
    shape = context.tensor(0)
    out = context.output().shape
    context.reserve("tmp_weight")  # the default value, made before the attribute is looked at
    label = context.names.refittable() if context.parser.names_helpers else ""
    value = context.constant((1,), context.output().dtype, label)
    rank = len(out or ())
    ones = (1,) * rank
    flat = value
    if rank != 1 or not context.parser.names_every_layer:
        flat = context.helper("SHUFFLE", [value], ones, Shuffle(reshape=ones, helper=True), "ONNXTRT_ShapeShuffle")
    if context.parser.names_helpers:
        result = context.emit("SLICE", [flat, shape], out, Slice((), (), ()), name="ONNXTRT_ShapeSlice")
    else:
        start = context.constant((rank,), "int32")
        result = context.emit("SLICE", [flat, start, shape], out, Slice((), (), ()))
    context.finish(result)


def gathered(context: Context) -> None:
    """Gather, GatherND, GatherElements: one GATHER, its indices cast where the release has 64-bit ones."""
    data, indices = context.tensor(0), context.tensor(1)
    if context.parser.int64 and data.dtype not in ("int64",):
        indices = context.helper("CAST", [indices], indices.shape, Cast("int32"), "ONNXTRT_castHelper", dtype="int32")
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
