"""A tensor that holds one value everywhere: the constant brought to the rank and stretched by a SLICE."""

from __future__ import annotations

from dlaflow.graph.layer import Dims, Shuffle, Slice, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor


def filled(context: Context, value: Tensor, shape: Tensor, out: Dims | None) -> Tensor:
    """`value` (one element) in the shape that the tensor `shape` holds; `out` is that shape where it is known."""
    rank = shape.shape[0] if shape.shape else None
    rank = len(out or ()) if rank is None else rank
    ones = ShapeTensor((1,) * rank)
    if context.parser.fills_by_shape_tensors:
        zeros = ShapeTensor((0,) * rank)
        flat = sizes.reshape(context, value, ones)
        size = ShapeTensor(out if out is not None else (None,) * rank, tensor=shape)
        size.values = tuple(None for _ in size.values)
        made = sizes.add_slice(context, flat, (zeros, size, zeros), Slice((), (), ()))
        return context.reshape_output(made, out)
    attributes = Shuffle(reshape=ones.values, helper=True)
    flat = context.emit("SHUFFLE", [value], ones.values, attributes, name="")
    result = context.emit("SLICE", [flat], out, Slice((), (), ()), name="")
    draft = context.drafts[-1]
    draft.inputs += [context.constant((rank,), "int32"), shape]
    return context.rename(draft, result)
