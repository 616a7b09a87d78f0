"""Operators that only move or relabel elements: SHUFFLE, and SQUEEZE and UNSQUEEZE in newer releases."""

from __future__ import annotations

from math import prod

from dlaflow.graph.layer import Dims, Shuffle, Tensor
from dlaflow.graph.lower.context import Context, Operand


def import_reshape(context: Context) -> None:
    """Reshape: one SHUFFLE."""
    operand = context.operand(0)
    out = context.output()
    if _stays_weights(context, operand):
        _as_weights(context)
        return
    data = context.as_tensor(operand)
    context.finish(context.emit("SHUFFLE", [data], out.shape, Shuffle(reshape=out.shape or ())))


def import_flatten(context: Context) -> None:
    """Flatten: one SHUFFLE to two dimensions."""
    data = context.tensor(0)
    shape = context.output().shape
    if shape is None and data.shape is not None:
        axis = context.attributes.integer("axis", 1) % (len(data.shape) + 1)
        shape = (_size(data.shape[:axis]), _size(data.shape[axis:]))
    if context.parser.names_helpers:
        context.names.layer("ONNXTRT_ShapeShuffle")
    context.finish(context.emit("SHUFFLE", [data], shape, Shuffle(reshape=shape or ())))


def _size(dims: Dims) -> int | None:
    known = [size for size in dims if size is not None]
    return prod(known) if len(known) == len(dims) else None


def import_transpose(context: Context) -> None:
    """Transpose: one SHUFFLE; small weights are transposed in place."""
    operand = context.operand(0)
    if _stays_weights(context, operand):
        _as_weights(context)
        return
    data = context.as_tensor(operand)
    rank = len(data.shape or context.output().shape or ())
    order = context.attributes.integers("perm") or tuple(reversed(range(rank)))
    shape = tuple(data.shape[axis] for axis in order) if data.shape is not None else None
    context.finish(context.emit("SHUFFLE", [data], shape, Shuffle(first_transpose=order)))


def import_squeeze(context: Context) -> None:
    """Squeeze: SHUFFLE, or SQUEEZE with its axes as a constant."""
    _axes_layer(context, "SQUEEZE")


def import_unsqueeze(context: Context) -> None:
    """Unsqueeze: SHUFFLE, or UNSQUEEZE with its axes as a constant."""
    _axes_layer(context, "UNSQUEEZE")


def _axes_layer(context: Context, kind: str) -> None:
    operand = context.operand(0)
    out = context.output()
    if kind == "UNSQUEEZE" and _stays_weights(context, operand):
        _as_weights(context)
        return
    data = context.as_tensor(operand)
    attributes = Shuffle(reshape=out.shape or ())
    if not context.parser.squeeze_layers:
        context.finish(context.emit("SHUFFLE", [data], out.shape, attributes))
        return
    if context.is_absent(1):
        axes = context.constant((len(context.attributes.integers("axes") or ()),), "int64")
    else:
        axes = context.tensor(1)
    context.finish(context.emit(kind, [data, axes], out.shape, attributes))


def _stays_weights(context: Context, operand: Operand) -> bool:
    """Parsers before 10.0 reshape, transpose and unsqueeze weights without a layer."""
    return operand.weights and not context.parser.int64


def _as_weights(context: Context) -> None:
    out = context.output()
    context.finish(Operand(Tensor(out.name, out.shape, out.dtype, True), weights=True))


def import_depth_to_space(context: Context) -> None:
    """DepthToSpace: two SHUFFLE layers, split and transpose, then merge."""
    block = context.attributes.integer("blocksize", 1)
    by_column = context.attributes.text("mode", "DCR") == "CRD"
    data = context.tensor(0)
    batch, channels, height, width = _image(data)
    small = None if channels is None else channels // (block * block)
    split: Dims = (
        (batch, small, block, block, height, width) if by_column else (batch, block, block, small, height, width)
    )
    order = (0, 1, 4, 2, 5, 3) if by_column else (0, 3, 4, 1, 5, 2)
    _two_shuffles(context, data, split, order)


def import_space_to_depth(context: Context) -> None:
    """SpaceToDepth: two SHUFFLE layers, split and transpose, then merge."""
    block = context.attributes.integer("blocksize", 1)
    data = context.tensor(0)
    batch, channels, height, width = _image(data)
    rows = None if height is None else height // block
    columns = None if width is None else width // block
    _two_shuffles(context, data, (batch, channels, rows, block, columns, block), (0, 3, 5, 1, 2, 4))


def _image(data: Tensor) -> Dims:
    return data.shape if data.shape is not None and len(data.shape) == 4 else (None, None, None, None)


def _two_shuffles(context: Context, data: Tensor, split: Dims, order: tuple[int, ...]) -> None:
    moved = tuple(split[axis] for axis in order)
    out = context.output().shape
    if context.parser.names_helpers:
        context.names.layer("ONNXTRT_ShapeShuffle")
    first = context.emit("SHUFFLE", [data], moved, Shuffle(reshape=split, second_transpose=order))
    second = Shuffle(reshape=out or (), helper=True)
    context.finish(context.helper("SHUFFLE", [first], out, second, "ONNXTRT_ShapeShuffle"))
