"""Softmax, LogSoftmax and Hardmax: SOFTMAX between the reshapes that older opsets ask for."""

from __future__ import annotations

from math import prod

from dlaflow.graph.layer import Dims, Shuffle, SoftMax, Tensor, Unary
from dlaflow.graph.lower.broadcast import reshape
from dlaflow.graph.lower.context import Context


def import_softmax(context: Context) -> None:
    """Softmax: SOFTMAX and a SHUFFLE back to the shape; before opset 13 the input is flattened to two dimensions."""
    data = context.tensor(0)
    context.finish(_shaped_back(context, _softmax(context, data), data.shape))


def import_log_softmax(context: Context) -> None:
    """LogSoftmax: Softmax, then LOG."""
    data = context.tensor(0)
    result = _softmax(context, data)
    logarithm = context.emit("UNARY", [result], result.shape, Unary("LOG"))
    context.finish(_shaped_back(context, logarithm, data.shape))


def _softmax(context: Context, data: Tensor) -> Tensor:
    shape: Dims = data.shape or ()
    rank = len(shape)
    if context.model.opset >= 13:
        axis = context.attributes.integer("axis", -1) % max(rank, 1)
        return context.emit("SOFTMAX", [data], data.shape, SoftMax(axis))
    axis = context.attributes.integer("axis", 1) % max(rank, 1)
    flat: Dims = (_size(shape[:axis]), _size(shape[axis:]))
    if context.parser.names_helpers:
        context.names.layer("ONNXTRT_ShapeShuffle")
    data = context.helper("SHUFFLE", [data], flat, Shuffle(reshape=flat, helper=True), "ONNXTRT_flattenTensor")
    return context.emit("SOFTMAX", [data], flat, SoftMax(1))


def _shaped_back(context: Context, result: Tensor, shape: Dims | None) -> Tensor:
    return reshape(context, result, shape or ())


def _size(dims: Dims) -> int | None:
    known = [size for size in dims if size is not None]
    return prod(known) if len(known) == len(dims) else None
