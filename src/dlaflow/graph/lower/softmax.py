"""Softmax and LogSoftmax: SOFTMAX between the reshapes that older opsets ask for."""

from __future__ import annotations

from dlaflow.graph.layer import SoftMax, Tensor, Unary
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shuffle import flattened


def import_softmax(context: Context) -> None:
    """Softmax: SOFTMAX and a SHUFFLE back to the shape; before opset 13 the input is flattened to two dimensions."""
    data = context.tensor(0)
    if data.shape is None:
        context.finish(_without_shape(context, data))
    else:
        context.finish(sizes.add_shuffle(context, _softmax(context, data), sizes.shape_of(data)))


def import_log_softmax(context: Context) -> None:
    """LogSoftmax: SOFTMAX, LOG and a SHUFFLE back to the shape."""
    data = context.tensor(0)
    result = _softmax(context, data) if data.shape is not None else _without_shape(context, data)
    name = None if context.parser.names_every_layer else ""
    logarithm = context.emit("UNARY", [result], result.shape, Unary("LOG"), name=name)
    if data.shape is not None:
        logarithm = sizes.add_shuffle(context, logarithm, sizes.shape_of(data))
    context.finish(logarithm)


def _without_shape(context: Context, data: Tensor) -> Tensor:
    """SOFTMAX of a tensor whose rank nobody knows: the reshapes around it cannot be told."""
    return context.emit("SOFTMAX", [data], None, SoftMax(max(context.attributes.integer("axis", -1), 0)))


def _softmax(context: Context, data: Tensor) -> Tensor:
    rank = len(data.shape or ())
    if context.model.opset >= 13:
        axis = context.attributes.integer("axis", -1) % max(rank, 1)
        return context.emit("SOFTMAX", [data], data.shape, SoftMax(axis))
    axis = context.attributes.integer("axis", 1)
    axis = axis + rank if axis < 0 else axis
    data = flattened(context, data, axis, "ONNXTRT_flattenTensor" if context.parser.names_helpers else "")
    return context.emit("SOFTMAX", [data], data.shape, SoftMax(1))
