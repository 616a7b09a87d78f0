"""Operators that only move or relabel elements: SHUFFLE, and SQUEEZE and UNSQUEEZE in newer releases."""

from __future__ import annotations

from dlaflow.graph.layer import Dims, Shuffle, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context, Operand, Outputs
from dlaflow.graph.lower.helpers import squeeze, unsqueeze
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.sizes import parser_knows


def import_reshape(context: Context) -> Outputs:
    """Reshape: one SHUFFLE; its shape is a second input when the parser computes it in the network."""
    data = context.tensor(0)
    out = context.output()
    given = context.attributes.integers("shape")
    rank = len(out.shape) if out.shape is not None else 0
    shape = ShapeTensor(given) if given is not None else sizes.from_input(context, 1, rank)
    result = sizes.add_shuffle(context, data, shape, None)
    context.maker(result).attributes = Shuffle(reshape=out.shape or result.shape or ())
    return result


def import_flatten(context: Context) -> Outputs:
    """Flatten: one SHUFFLE to two dimensions, an IDENTITY when it has two already."""
    data = context.tensor(0)
    if data.shape is None:
        return context.emit("SHUFFLE", [data], None, Shuffle())
    rank = len(data.shape)
    axis = context.attributes.integer("axis", 1)
    axis = axis + rank if axis < 0 else axis
    if rank == 2 and axis == 1:
        return identity(context, data)
    result = flattened(context, data, axis, None)
    context.drafts[-1].attributes = Shuffle(reshape=result.shape or ())
    return result


def flattened(context: Context, data: Tensor, axis: int, name: str | None) -> Tensor:
    """A SHUFFLE of the axes before `axis` into one dimension and of the others into a second."""
    dims = sizes.shape_of(data)
    first = sizes.product(context, dims, 0, axis)
    second = sizes.product(context, dims, axis, data.rank)
    return sizes.add_shuffle(context, data, sizes.concat(context, first, second), name)


def identity(context: Context, data: Tensor) -> Tensor:
    """The IDENTITY that stands in for an operator without an effect."""
    return context.helper("IDENTITY", [data], data.shape, None, "ONNXTRT_identity")


def import_transpose(context: Context) -> Outputs:
    """Transpose: one SHUFFLE; one that moves only ones is a reshape."""
    data = context.tensor(0)
    rank = len(data.shape or context.output().shape or ())
    order = context.attributes.integers("perm") or tuple(reversed(range(rank)))
    if context.parser.skips_identity_transposes and order == tuple(range(rank)):
        return Operand(data)
    shape = tuple(data.shape[axis] for axis in order) if data.shape is not None else None
    attributes = Shuffle(first_transpose=order)
    if data.shape is not None and not _moves(data.shape, order):
        attributes = Shuffle(reshape=shape or ())
    return context.emit("SHUFFLE", [data], shape, attributes)


def _moves(shape: Dims, order: tuple[int, ...]) -> bool:
    """Whether the permutation changes the order of elements: axes of one do not count."""
    if not all(parser_knows(size) for size in shape):
        return True
    kept = [axis for axis in order if shape[axis] != 1]
    return kept != sorted(kept)


def import_squeeze(context: Context) -> Outputs:
    """Squeeze: SHUFFLE, or SQUEEZE with its axes as a constant."""
    data = context.tensor(0)
    if context.parser.squeeze_layers:
        return _axes_layer(context, "SQUEEZE", data)
    axes = _axes(context, data.rank)
    if axes is None:
        axes = [axis for axis, size in enumerate(data.shape or ()) if size == 1]
    return _unmarked(context, squeeze(context, data, axes, named=True))


def import_unsqueeze(context: Context) -> Outputs:
    """Unsqueeze: SHUFFLE, or UNSQUEEZE with its axes as a constant."""
    data = context.tensor(0)
    if context.parser.squeeze_layers:
        return _axes_layer(context, "UNSQUEEZE", data)
    count = len(context.attributes.integers("axes") or context.integers(1) or ())
    axes = _axes(context, data.rank + count) or []
    return _unmarked(context, unsqueeze(context, data, axes, named=True))


def _axes(context: Context, rank: int) -> list[int] | None:
    given = context.attributes.integers("axes")
    if given is None:
        given = context.integers(1)
    return None if given is None else [axis % max(rank, 1) for axis in given]


def _unmarked(context: Context, result: Tensor) -> Tensor:
    """The shuffle is the ONNX operator's own, not a helper."""
    context.maker(result).attributes = Shuffle(reshape=result.shape or ())
    return result


def _axes_layer(context: Context, kind: str, data: Tensor) -> Outputs:
    out = context.output()
    if context.is_absent(1):
        axes = context.constant((len(context.attributes.integers("axes") or ()),), "int64")
    else:
        axes = context.tensor(1)
    return context.emit(kind, [data, axes], out.shape, Shuffle(reshape=out.shape or ()))


def import_depth_to_space(context: Context) -> Outputs:
    """DepthToSpace: two SHUFFLE layers, split and transpose, then merge."""
    block = sizes.vector(context.attributes.integer("blocksize", 1))
    by_column = context.attributes.text("mode", "DCR") == "CRD"
    data = context.tensor(0)
    batch, channels, height, width = _image(context, data)
    small = sizes.floor_divide(context, channels, sizes.multiply(context, block, block))
    tall, wide = sizes.multiply(context, height, block), sizes.multiply(context, width, block)
    if by_column:
        split, order = [batch, small, block, block, height, width], (0, 1, 4, 2, 5, 3)
    else:
        split, order = [batch, block, block, small, height, width], (0, 3, 4, 1, 5, 2)
    return _two_shuffles(context, data, _joined(context, split), (order, [batch, small, tall, wide]))


def import_space_to_depth(context: Context) -> Outputs:
    """SpaceToDepth: two SHUFFLE layers, split and transpose, then merge."""
    block = sizes.vector(context.attributes.integer("blocksize", 1))
    data = context.tensor(0)
    batch, channels, height, width = _image(context, data)
    deep = sizes.multiply(context, channels, sizes.multiply(context, block, block))
    rows, columns = sizes.floor_divide(context, height, block), sizes.floor_divide(context, width, block)
    split = _joined(context, [batch, channels, rows, block, columns, block])
    return _two_shuffles(context, data, split, ((0, 3, 5, 1, 2, 4), [batch, deep, rows, columns]))


def _image(context: Context, data: Tensor) -> list[ShapeTensor]:
    if data.shape is None or len(data.shape) != 4:
        return [ShapeTensor((None,), tensor=data, depth=1)] * 4
    shape = sizes.shape_of(data)
    return [sizes.gather(context, shape, sizes.vector(axis)) for axis in range(4)]


def _joined(context: Context, parts: list[ShapeTensor]) -> ShapeTensor:
    result = parts[-1]
    for part in reversed(parts[:-1]):
        result = sizes.concat(context, part, result)
    return result


def _two_shuffles(
    context: Context, data: Tensor, split: ShapeTensor, then: tuple[tuple[int, ...], list[ShapeTensor]]
) -> Outputs:
    order, merged = then
    first = sizes.add_shuffle(context, data, split, None)
    moved = tuple(split.values[axis] for axis in order)
    draft = context.maker(first)
    draft.attributes = Shuffle(reshape=tuple(split.values), second_transpose=order)
    draft.outputs = [Tensor(first.name, moved, first.dtype, first.constant)]
    return sizes.add_shuffle(context, draft.outputs[0], _joined(context, merged))
