"""Layers that the parser adds for itself: reshapes to one rank, squeezes, lengths of axes, values over a shape."""

from __future__ import annotations

from collections.abc import Sequence

from dlaflow.graph.layer import Cast, Dims, ElementWise, Shuffle, Slice, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.sizes import parser_knows

_BOOLEAN = frozenset({"GREATER", "LESS", "EQUAL", "AND", "OR", "XOR"})


def to_rank(context: Context, tensor: Tensor, rank: int) -> Tensor:
    """Put ones in front of a tensor's shape until it has `rank` dimensions."""
    if tensor.shape is None or len(tensor.shape) >= rank:
        return tensor
    ones = ShapeTensor((1,) * (rank - len(tensor.shape)))
    wanted = sizes.concat(context, ones, sizes.shape_of(tensor))
    return sizes.add_shuffle(context, tensor, wanted, "ONNXTRT_Broadcast")


def same_rank(context: Context, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Bring all tensors to the largest rank among them."""
    ranks = [len(tensor.shape) for tensor in tensors if tensor.shape is not None]
    return [to_rank(context, tensor, max(ranks, default=0)) for tensor in tensors]


def combine(context: Context, operation: str, left: Tensor, right: Tensor, name: str | None = None) -> Tensor:
    """One ELEMENTWISE of two tensors of one rank. `name` None is the node's, "" none."""
    constant = 1 if right.constant else 0 if left.constant else None
    shape = broadcast_shape([left.shape, right.shape])
    dtype = "bool" if operation in _BOOLEAN else None
    return context.emit("ELEMENTWISE", [left, right], shape, ElementWise(operation, constant), name=name, dtype=dtype)


def broadcast_shape(shapes: Sequence[Dims | None]) -> Dims | None:
    """The shape of an element-wise result, None when a rank is unknown."""
    known = [shape for shape in shapes if shape is not None]
    if not known or len(known) < len(shapes):
        return None
    rank = max(len(shape) for shape in known)
    padded = [(1,) * (rank - len(shape)) + shape for shape in known]
    return tuple(_extent([shape[axis] for shape in padded]) for axis in range(rank))


def _extent(extents: list[int | None]) -> int | None:
    larger = [size for size in extents if size is not None and size != 1]
    if larger:
        return larger[0]
    return None if None in extents else extents[0]


def unsqueeze(context: Context, tensor: Tensor, axes: Sequence[int], *, named: bool = False) -> Tensor:
    """Put ones at `axes` of the result; `named` for the ONNX operator itself."""
    order = list(range(tensor.rank))
    for axis in sorted(axes):
        order.insert(axis, tensor.rank)
    return _with_axes(context, tensor, ("UNSQUEEZE", len(axes)), order, named=named)


def squeeze(context: Context, tensor: Tensor, axes: Sequence[int], *, named: bool = False) -> Tensor:
    """Remove `axes`; `named` for the ONNX operator itself."""
    order = [axis for axis in range(tensor.rank) if axis not in axes]
    return _with_axes(context, tensor, ("SQUEEZE", len(axes)), order, named=named)


def _with_axes(context: Context, tensor: Tensor, what: tuple[str, int], order: Sequence[int], *, named: bool) -> Tensor:
    """The tensor with its axes in `order`, where its rank stands for a one; `what` is the kind and the count of axes.

    Where nobody knows how many dimensions there are, the layer is made as far as it is known.
    """
    kind, count = what
    label = f"ONNXTRT_{kind.lower()}Tensor"
    if tensor.shape is None:
        attributes, layer = Shuffle(helper=not named), kind if context.parser.squeeze_layers else "SHUFFLE"
        if named:
            return context.emit(layer, [tensor], None, attributes)
        return context.helper(layer, [tensor], None, attributes, label)
    if context.parser.squeeze_layers:
        wanted = tuple((*tensor.shape, 1)[index] for index in order)
        where = context.constant((count,), "int64")
        return context.helper(kind, [tensor, where], wanted, Shuffle(reshape=wanted, helper=True), label)
    dims = sizes.shape_of(tensor)
    if kind == "UNSQUEEZE":
        dims = sizes.concat(context, dims, sizes.vector(1))
    new_shape = sizes.gather(context, dims, ShapeTensor(tuple(order)))
    return sizes.add_shuffle(context, tensor, new_shape, None if named else label)


def to_scalar(context: Context, data: Tensor) -> Tensor:
    """A tensor with one element as a scalar."""
    if data.shape == ():
        return data
    attributes = Shuffle(helper=True)
    return context.helper("SHUFFLE", [data], (), attributes, "ONNXTRT_convertToScalar", dtype=data.dtype)


def axis_length(context: Context, data: Tensor, axis: int, *, scalar: bool = False, wide: bool = False) -> Tensor:
    """The length of an axis, as a scalar or as a vector of one, in 32 bits or (`wide`) in the parser's own integers.

    Newer parsers always take it from SHAPE; older ones write a constant when they know it.
    """
    rank = None if data.shape is None else len(data.shape)
    shape: Dims = () if scalar else (1,)
    if context.parser.extracts_dimensions:
        whole = context.emit("SHAPE", [data], (rank,), dtype="int64", name="")
        if not wide:
            whole = context.emit("CAST", [whole], (rank,), Cast("int32"), dtype="int32", name="")
        part = context.emit("SLICE", [whole], (1,), Slice((axis,), (1,), (1,)), name="ONNXTRT_extractDimension")
        name = "ONNXTRT_extractDimensionReshape"
        return context.emit("SHUFFLE", [part], (), Shuffle(helper=True), name=name) if scalar else part
    if data.shape is not None and axis < len(data.shape) and parser_knows(data.shape[axis]):
        return context.constant(shape, "int32")
    whole = context.emit("SHAPE", [data], (rank,), dtype="int32", name="")
    return context.emit("GATHER", [whole, context.constant(shape, "int32")], shape, name="")


def open_length(context: Context, data: Tensor, axis: int) -> ShapeTensor:
    """The length of an axis as a size that the parser does not know."""
    return ShapeTensor((None,), tensor=axis_length(context, data, axis, wide=True))


def stretched(context: Context, value: Tensor, shape: Tensor, dims: Dims | None) -> Tensor:
    """`value` over a shape that is a tensor of the network: a SHUFFLE to its rank and a SLICE with strides of zero."""
    known = shape.shape[0] if shape.shape else None
    ones: Dims = (1,) * (len(dims or ()) if known is None else known)
    flat = value
    if value.shape != ones or not context.parser.stretches_helpers:
        attributes = Shuffle(reshape=ones, helper=True)
        flat = context.helper("SHUFFLE", [value], ones, attributes, "ONNXTRT_ShapeShuffle")
    if context.parser.stretches_helpers:
        return context.helper("SLICE", [flat, shape], dims, Slice(), "ONNXTRT_ShapeSlice")
    made = context.emit("SLICE", [flat], dims, Slice(), name="")
    draft = context.drafts[-1]
    draft.inputs += [context.constant((len(ones),), "int32"), shape]
    return context.rename(draft, made)


def enlarged(context: Context, data: Tensor, rank: int) -> list[Tensor]:
    """Start and size of a SLICE that reaches beyond its input by known amounts: two constants, a shape and a sum."""
    dtype = "int64" if context.parser.int64 else "int32"
    start, total = context.constant((rank,), dtype), context.constant((rank,), dtype)
    dims = sizes.shape_of(data).materialise(context)
    return [start, context.emit("ELEMENTWISE", [dims, total], (rank,), ElementWise("SUM", 1), name="")]


def zeros_like(context: Context, data: Tensor) -> Tensor:
    """Zeros of a tensor's shape and type: the tensor times zero, in newer releases a zero stretched over its shape."""
    zero = context.cast(context.constant(()), data.dtype)
    if context.parser.names_every_layer:
        shape = sizes.shape_of(data).materialise(context)
        return stretched(context, zero, shape, data.shape)
    zero, data = same_rank(context, [zero, data])
    attributes = ElementWise("PROD", 1)
    return context.helper("ELEMENTWISE", [data, zero], data.shape, attributes, "ONNXTRT_createZeroTensor")
