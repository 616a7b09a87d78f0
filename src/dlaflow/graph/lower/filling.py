"""Tensors that the parser fills with one value: zeros beside a tensor, and a constant stretched over a shape."""

from __future__ import annotations

from dlaflow.graph.layer import Dims, ElementWise, Shuffle, Slice, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.broadcast import same_rank
from dlaflow.graph.lower.context import Context


def stretched(context: Context, value: Tensor, shape: Tensor, dims: Dims | None) -> Tensor:
    """`value` over a shape that is a tensor of the network: a SHUFFLE to its rank and a SLICE with strides of zero."""
    known = shape.shape[0] if shape.shape else None
    ones: Dims = (1,) * (len(dims or ()) if known is None else known)
    flat = value
    if value.shape != ones or not context.parser.stretches_helpers:
        attributes = Shuffle(reshape=ones, helper=True)
        flat = context.helper("SHUFFLE", [value], ones, attributes, "ONNXTRT_ShapeShuffle")
    if context.parser.stretches_helpers:
        return context.helper("SLICE", [flat, shape], dims, Slice((), (), ()), "ONNXTRT_ShapeSlice")
    made = context.emit("SLICE", [flat], dims, Slice((), (), ()), name="")
    draft = context.drafts[-1]
    draft.inputs += [context.constant((len(ones),), "int32"), shape]
    return context.rename(draft, made)


def zeros_like(context: Context, data: Tensor) -> Tensor:
    """Zeros of a tensor's shape and type: the tensor times zero, in newer releases a zero stretched over its shape."""
    zero = context.cast(context.constant(()), data.dtype)
    if context.parser.names_every_layer:
        shape = sizes.shape_of(data).materialise(context)
        return stretched(context, zero, shape, data.shape)
    zero, data = same_rank(context, [zero, data])
    attributes = ElementWise("PROD", 1, True)
    return context.helper("ELEMENTWISE", [data, zero], data.shape, attributes, "ONNXTRT_createZeroTensor")
