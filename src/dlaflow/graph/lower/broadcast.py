"""The shuffles that the parser adds so that operands have the same rank, and other reshapes of its own."""

from __future__ import annotations

from collections.abc import Sequence

from dlaflow.graph.layer import Dims, Shuffle, Tensor
from dlaflow.graph.lower.context import Context


def to_rank(context: Context, tensor: Tensor, rank: int) -> Tensor:
    """Put ones in front of a tensor's shape until it has `rank` dimensions."""
    if tensor.shape is None or len(tensor.shape) >= rank:
        return tensor
    wanted: Dims = (1,) * (rank - len(tensor.shape)) + tensor.shape
    return context.helper("SHUFFLE", [tensor], wanted, Shuffle(reshape=wanted, helper=True), "ONNXTRT_Broadcast")


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


def _extent(sizes: list[int | None]) -> int | None:
    larger = [size for size in sizes if size is not None and size != 1]
    if larger:
        return larger[0]
    return None if None in sizes else 1


def reshape(context: Context, tensor: Tensor, wanted: Dims, name: str = "ONNXTRT_ShapeShuffle") -> Tensor:
    """A helper shuffle to a shape that the parser knows."""
    return context.helper("SHUFFLE", [tensor], wanted, Shuffle(reshape=wanted, helper=True), name)


def unsqueeze(context: Context, tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """A helper that puts ones at `axes` of the result."""
    wanted: list[int | None] = list(tensor.shape or ())
    for axis in sorted(axes):
        wanted.insert(axis, 1)
    return _axes_helper(context, tensor, tuple(wanted), "UNSQUEEZE", len(axes))


def squeeze(context: Context, tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """A helper that removes `axes`."""
    wanted = tuple(size for axis, size in enumerate(tensor.shape or ()) if axis not in axes)
    return _axes_helper(context, tensor, wanted, "SQUEEZE", len(axes))


def _axes_helper(context: Context, tensor: Tensor, wanted: Dims, kind: str, axes: int) -> Tensor:
    name = f"ONNXTRT_{kind.lower()}Tensor"
    attributes = Shuffle(reshape=wanted, helper=True)
    if not context.parser.squeeze_layers:
        return context.helper("SHUFFLE", [tensor], wanted, attributes, name)
    where = context.constant((axes,), "int64")
    return context.helper(kind, [tensor, where], wanted, attributes, name)
