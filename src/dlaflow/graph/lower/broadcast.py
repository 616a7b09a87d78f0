"""The shuffles that the parser adds so that operands have the same rank, and its own squeezes and unsqueezes."""

from __future__ import annotations

from collections.abc import Sequence

from dlaflow.graph.layer import Dims, Shuffle, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor


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
    if tensor.shape is None:
        return _of_unknown_rank(context, tensor, "UNSQUEEZE", named=named)
    shape = tensor.shape
    subscripts = list(range(len(shape)))
    for axis in sorted(axes):
        subscripts.insert(axis, len(shape))
    if context.parser.squeeze_layers:
        wanted = tuple((*shape, 1)[index] for index in subscripts)
        return _with_axes(context, tensor, wanted, ("UNSQUEEZE", len(axes)))
    new_shape = sizes.interlace(context, sizes.shape_of(tensor), sizes.vector(1), ShapeTensor(tuple(subscripts)))
    return sizes.add_shuffle(context, tensor, new_shape, None if named else "ONNXTRT_unsqueezeTensor")


def squeeze(context: Context, tensor: Tensor, axes: Sequence[int], *, named: bool = False) -> Tensor:
    """Remove `axes`; `named` for the ONNX operator itself."""
    if tensor.shape is None:
        return _of_unknown_rank(context, tensor, "SQUEEZE", named=named)
    kept = [axis for axis in range(len(tensor.shape or ())) if axis not in axes]
    if context.parser.squeeze_layers:
        wanted = tuple((tensor.shape or ())[axis] for axis in kept)
        return _with_axes(context, tensor, wanted, ("SQUEEZE", len(axes)))
    new_shape = sizes.gather(context, sizes.shape_of(tensor), ShapeTensor(tuple(kept)))
    return sizes.add_shuffle(context, tensor, new_shape, None if named else "ONNXTRT_squeezeTensor")


def _of_unknown_rank(context: Context, tensor: Tensor, kind: str, *, named: bool) -> Tensor:
    """The layer as far as it can be told when nobody knows how many dimensions there are."""
    attributes = Shuffle(helper=not named)
    layer = kind if context.parser.squeeze_layers else "SHUFFLE"
    if named:
        return context.emit(layer, [tensor], None, attributes)
    return context.helper(layer, [tensor], None, attributes, f"ONNXTRT_{kind.lower()}Tensor")


def _with_axes(context: Context, tensor: Tensor, wanted: Dims, kind: tuple[str, int]) -> Tensor:
    where = context.constant((kind[1],), "int64")
    attributes = Shuffle(reshape=wanted, helper=True)
    return context.helper(kind[0], [tensor, where], wanted, attributes, f"ONNXTRT_{kind[0].lower()}Tensor")


def to_scalar(context: Context, data: Tensor) -> Tensor:
    """A tensor with one element as a scalar."""
    if data.shape == ():
        return data
    attributes = Shuffle(helper=True)
    return context.helper("SHUFFLE", [data], (), attributes, "ONNXTRT_convertToScalar", dtype=data.dtype)
