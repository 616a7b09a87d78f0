"""From a checked ONNX model to the layers that TensorRT's ONNX parser makes of it."""

from __future__ import annotations

from dlaflow.graph.layer import Network, Tensor
from dlaflow.graph.load import Model
from dlaflow.graph.lower.context import Context, Operand
from dlaflow.graph.lower.release import parser_of
from dlaflow.graph.lower.table import IMPORTERS
from dlaflow.graph.lower.tensors import import_unknown
from dlaflow.graph.shapes import Shapes, infer


def lower(model: Model, *, tensorrt: str = "8.5.2", batch: int | None = None) -> Network:
    """The network that TensorRT `tensorrt` parses from `model`, with `batch` in place of an open first dimension.

    Without `batch` an open one becomes 1, as trtexec does. Layers come in the parser's order with its kinds and names.
    Raises InputError for a node that breaks ONNX's rules, UsageError for a `tensorrt` that is no version.
    """
    shapes = infer(model, 1 if batch is None else batch)
    context = Context(model, shapes, parser_of(tensorrt))
    _bind_weights(context, shapes)
    inputs = tuple(_input(name, shapes) for name in shapes.inputs)
    for tensor in inputs:
        context.bind(context.names.tensor(tensor.name), Operand(tensor))
    for node in model.proto.graph.node:
        context.start(node)
        IMPORTERS.get(node.op_type, import_unknown)(context)
    outputs = tuple(context.result(value.name) for value in model.proto.graph.output)
    return Network(context.layers(), inputs, outputs, shapes.dynamic_inputs, tuple(context.unknown_ops))


def _bind_weights(context: Context, shapes: Shapes) -> None:
    for tensor in context.model.proto.graph.initializer:
        known = shapes.type_of(tensor.name)
        context.bind(tensor.name, Operand(Tensor(tensor.name, known.shape, known.dtype, True), weights=True))


def _input(name: str, shapes: Shapes) -> Tensor:
    known = shapes.type_of(name)
    return Tensor(name, known.shape, known.dtype)
