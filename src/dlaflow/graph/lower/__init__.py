"""From a checked ONNX model to the layers that TensorRT's ONNX parser makes of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.inputs import batch_of
from dlaflow.graph.layer import ElementWise, Network, Refusal, Slice, Tensor
from dlaflow.graph.load import Model
from dlaflow.graph.lower.context import Context, Operand, closed
from dlaflow.graph.lower.reading import refusals_of, refused_graph, refused_values, refused_weights, stand_in
from dlaflow.graph.lower.release import parser_of
from dlaflow.graph.lower.shuffle import identity
from dlaflow.graph.lower.table import IMPORTERS
from dlaflow.graph.lower.tensors import import_unknown
from dlaflow.graph.shapes import ANY_RANK, infer, sizes_from_matrices

if TYPE_CHECKING:
    import onnx


def lower(
    model: Model, *, tensorrt: str = "8.5.2", batch: int | None = None, fixed: Sequence[FixedShape] = ()
) -> Network:
    """The network that TensorRT `tensorrt` parses from `model`, built with minimum = optimum = maximum.

    `fixed` are shapes of inputs, `batch` stands in place of an open first dimension (without either it becomes 1, as
    with trtexec). The parser still sees what the file leaves open. Layers come in its order with its kinds and names.
    Raises InputError for a node that breaks ONNX's rules, UsageError for a `tensorrt` that is no version and for a
    shape that does not fit the model.
    """
    shapes = infer(model, batch_of(model.proto.graph, batch, fixed), fixed)
    parser = parser_of(tensorrt)
    less = parser.deepest_sizes < ANY_RANK and sizes_from_matrices(model, shapes.values)
    parsed = infer(model, None, deepest=parser.deepest_sizes) if shapes.was_open or less else None
    context = Context(model, shapes, parsed, parser)
    _register(context)
    inputs = tuple(context.inferred(name) for name in shapes.inputs)
    for tensor in inputs:
        context.bind(tensor.name, Operand(tensor))
    if context.parser.asserts_dimension_names:
        _assert_dimension_names(context)
    refusals = refused_values(context, inputs, "input") + refused_weights(context, model.proto.graph.initializer)
    refusals += refused_graph(context)
    context.importer = lambda node: _import(context, node, refusals)
    for node in model.proto.graph.node:
        context.importer(node)
    outputs = tuple(closed(_output(context, value.name)) for value in model.proto.graph.output)
    inputs = tuple(closed(tensor) for tensor in inputs)
    refusals += refused_values(context, outputs, "output")
    unknown = tuple(context.unknown_ops)
    return Network(context.layers(), inputs, outputs, shapes.dynamic_inputs, unknown, tuple(refusals))


def _output(context: Context, name: str) -> Tensor:
    """The tensor of a graph output: weights get their layer, and an input that is one goes through an IDENTITY."""
    context.start_nothing()
    tensor = context.as_tensor(context.bound(name))
    if tensor.name not in context.shapes.inputs:
        return tensor
    return replace(identity(context, tensor), name=name)


def _import(context: Context, node: onnx.NodeProto, refusals: list[Refusal]) -> None:
    """Lower one node; one that the parser refuses is lowered as ONNX means it, so that the rest is lowered too."""
    context.start(node)
    found = refusals_of(context)
    refusals.extend(found)
    if found:
        stand_in(context)
    first = len(context.drafts)
    try:
        context.finish(IMPORTERS.get(node.op_type, import_unknown)(context))
    except (IndexError, ValueError, ZeroDivisionError, OverflowError) as error:
        if found:
            del context.drafts[first:]
            context.finish(import_unknown(context))
            return
        raise InputError(
            f"{context.model.path}: node {context.node_name!r} ({node.op_type}) does not fit its inputs",
            expected="axes, sizes and values that the inputs' shapes allow",
            received=str(error),
            then="Check the model with onnx.checker, or export it again.",
        ) from error


def _register(context: Context) -> None:
    """Take the names of outputs, inputs and initializers, as the parser does before it reads the nodes."""
    graph = context.model.proto.graph
    for value in graph.output:
        context.names.tensor(value.name)
    for name in context.shapes.inputs:
        context.names.tensor(name)
    for tensor in graph.initializer:
        context.converts(tensor)
        context.names.tensor(tensor.name)
        known = context.shapes.type_of(tensor.name)
        context.bind(tensor.name, Operand(Tensor(tensor.name, known.shape, known.dtype, True), weights=True))


def _assert_dimension_names(context: Context) -> None:
    """Inputs whose open dimensions share a name, which 8.2 and 8.4 compare at run time.

    SHAPE of each input, SLICE of each dimension, EQUAL and ASSERTION for each neighbouring pair of one name.
    """
    places: dict[str, list[tuple[Tensor, int]]] = defaultdict(list)
    for value in context.model.proto.graph.input:
        if value.name in context.initializers:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param:
                places[dim.dim_param].append((context.bound(value.name).tensor, axis))
    shapes: dict[str, Tensor] = {}
    for name in sorted(name for name, found in places.items() if len(found) > 1):
        before: Tensor | None = None
        for tensor, axis in places[name]:
            if tensor.name not in shapes:
                shapes[tensor.name] = context.emit("SHAPE", [tensor], (tensor.rank,), name="", dtype="int32")
            given = [shapes[tensor.name]]
            length = context.emit("SLICE", given, (1,), Slice((axis,), (1,), (1,)), name="")
            if before is not None:
                equal = context.emit("ELEMENTWISE", [before, length], (1,), ElementWise("EQUAL"), name="", dtype="bool")
                context.emit_last("ASSERTION", equal)
            before = length
