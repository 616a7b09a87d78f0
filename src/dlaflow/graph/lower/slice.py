"""Operators that become SLICE layers: Slice, Split, Pad, Expand, Tile."""

from __future__ import annotations

from collections.abc import Sequence

from dlaflow.graph.layer import ElementWise, Slice, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.shuffle import identity
from dlaflow.graph.lower.sizes import OpenSize
from dlaflow.graph.lower.slice_bounds import bounds

_PAD_MODES = {"constant": "FILL", "reflect": "REFLECT", "edge": "CLAMP", "wrap": "WRAP"}


def import_slice(context: Context) -> None:
    """Slice: one SLICE; what the parser cannot compute of its start and size stands in the network before it."""
    data = context.tensor(0)
    out = context.output().shape
    rank = len(data.shape or ())
    if context.is_absent(1):
        starts, axes, steps = context.attributes.integers("starts"), context.attributes.integers("axes"), None
        from_nodes = False
    else:
        starts, axes, steps = context.integers(1), context.integers(3), context.integers(4)
        from_nodes = any(_from_node(context, index) for index in range(1, len(context.node.input)))
    attributes = Slice((), (), (), parameters_from_nodes=from_nodes)
    if starts is not None and rank and out is not None and None not in out:
        begin, stride = [0] * rank, [1] * rank
        for number, start in enumerate(starts):
            axis = (axes[number] if axes is not None else number) % rank
            size = (data.shape or ())[axis]
            stride[axis] = steps[number] if steps is not None else 1
            begin[axis] = _clamped(start, size, stride[axis])
        extents = tuple(int(size or 0) for size in out)
        attributes = Slice(tuple(begin), extents, tuple(stride), parameters_from_nodes=from_nodes)
    inputs = [data]
    if not context.is_absent(1) and rank and data.shape is not None:
        inputs += [given.materialise(context) for given in bounds(context, data) if not given.known]
    if context.parser.names_helpers:
        context.names.layer("ONNXTRT_ShapeSlice")
    context.finish(context.emit("SLICE", inputs, out, attributes))


def _clamped(start: int, size: int | None, step: int) -> int:
    if size is None:
        return start
    if start < 0:
        start += size
    return int(max(0, min(start, size if step > 0 else size - 1)))


def _from_node(context: Context, index: int) -> bool:
    """Whether an input is the output of a node, Constant or shape arithmetic, rather than an initializer."""
    return not context.is_absent(index) and context.node.input[index] not in context.initializers


def import_split(context: Context) -> None:
    """Split: one SLICE for each output, at growing starts."""
    data = context.tensor(0)
    rank = len(data.shape or ())
    axis = context.attributes.integer("axis", 0) % max(rank, 1)
    subscripts = ShapeTensor(tuple(rank if number == axis else number for number in range(rank)))
    results: list[Tensor] = []
    start: int | None = 0
    dims = sizes.shape_of(data)
    for index in range(len(context.node.output)):
        out = context.output(index).shape
        extent = out[axis] if out is not None and axis < len(out) else None
        attributes = Slice((), (), ())
        if out is not None and None not in out and start is not None:
            begin = tuple(int(start) if number == axis else 0 for number in range(rank))
            attributes = Slice(begin, tuple(int(size or 0) for size in out), (1,) * rank)
        size = ShapeTensor((None,) * rank, tensor=data, depth=1)
        if extent is not None:
            size = sizes.interlace(context, dims, sizes.vector(extent), subscripts)
        results.append(sizes.add_slice(context, data, size, attributes, None))
        start = None if extent is None or start is None else start + extent
    context.finish(*results)


def import_pad(context: Context) -> None:
    """Pad: one SLICE whose start lies outside; without any padding an IDENTITY."""
    data = context.tensor(0)
    out = context.output().shape
    pads = context.attributes.integers("pads")
    if pads is None:
        pads = context.attributes.integers("paddings") or context.integers(1)
    computed = not context.is_absent(1) and not context.operand(1).weights
    if pads is not None and not computed and not any(pads):
        context.finish(identity(context, data))
        return
    mode = _PAD_MODES.get(context.attributes.text("mode", "constant"), "FILL")
    fill = context.attributes.number("value", 0.0)
    given = context.value(2)
    if given is not None and given.size:
        fill = float(given.reshape(-1)[0])
    attributes = Slice((), (), (), mode, fill, _from_node(context, 1))
    rank = len(data.shape or ())
    if pads is not None and rank and out is not None and None not in out:
        begin = [0] * rank
        axes = context.integers(3) or tuple(range(rank))
        for number, axis in enumerate(axes):
            begin[axis % rank] = -pads[number]
        extents = tuple(int(size or 0) for size in out)
        attributes = Slice(tuple(begin), extents, (1,) * rank, mode, fill, attributes.parameters_from_nodes)
    parameters = _computed_pads(context, data) if computed else _known_pads(context, data)
    if context.parser.names_helpers:
        context.names.layer("ONNXTRT_ShapeSlice")
    context.finish(context.emit("SLICE", [data, *parameters], out, attributes))


def _known_pads(context: Context, data: Tensor) -> list[Tensor]:
    """Start and size of a Pad whose amounts are known: older parsers write them as constants and a sum."""
    if context.parser.names_every_layer:
        return []
    rank = len(data.shape or ())
    start, total = context.constant((rank,), "int32"), context.constant((rank,), "int32")
    dims = sizes.shape_of(data).materialise(context)
    return [start, context.emit("ELEMENTWISE", [dims, total], (rank,), ElementWise("SUM", 1), name="")]


def _computed_pads(context: Context, data: Tensor) -> list[Tensor]:
    """Start and size of a Pad whose amounts are computed in the network: two slices and sums."""
    rank = len(data.shape or ())
    pads = context.tensor(1)
    name = None if context.parser.names_every_layer else ""
    halves = [
        sizes.add_slice(context, pads, ShapeTensor((rank,)), Slice((first,), (rank,), (1,)), name)
        for first in (0, rank)
    ]
    values = context.integers(1) or (None,) * (2 * rank)
    before = ShapeTensor(_open(values[:rank]), tensor=halves[0])
    after = ShapeTensor(_open(values[rank:]), tensor=halves[1])
    start = sizes.subtract(context, ShapeTensor((0,) * rank), before)
    total = sizes.add(context, before, after)
    size = sizes.add(context, sizes.shape_of(data), total)
    return [start.materialise(context), size.materialise(context)]


def _open(values: Sequence[int | None]) -> tuple[int | None, ...]:
    return tuple(None if value is None else OpenSize(value) for value in values)


def import_expand(context: Context) -> None:
    """Expand: one SLICE with stride 0 along the axes that grow."""
    data = context.tensor(0)
    out = context.output().shape
    rank = len(out or ())
    wanted = sizes.from_input(context, 1, rank)
    dims = sizes.shape_of(data)
    if data.shape is not None and len(data.shape) < rank:
        ones = ShapeTensor((1,) * (rank - len(data.shape)))
        dims = sizes.concat(context, ones, dims)
        data = sizes.reshape(context, data, dims)
    if len(wanted.values) < rank:
        wanted = sizes.concat(context, ShapeTensor((1,) * (rank - len(wanted.values))), wanted)
    size = _broadcast(context, dims, wanted)
    size = ShapeTensor(out or size.values, tensor=size.tensor, depth=size.depth) if not size.known else size
    strides = sizes.minimum(context, sizes.vector(1), sizes.subtract(context, dims, sizes.vector(1)))
    from_nodes = _from_node(context, 1)
    attributes = Slice((), (), (), parameters_from_nodes=from_nodes)
    if out is not None and None not in out and data.shape is not None:
        stride = tuple(0 if extent == 1 else 1 for extent in data.shape)
        attributes = Slice(
            (0,) * rank, tuple(int(extent or 0) for extent in out), stride, "STRICT_BOUNDS", 0.0, from_nodes
        )
    result = sizes.add_slice(context, data, size, attributes, None)
    if not strides.known:
        next(d for d in reversed(context.drafts) if result in d.outputs).inputs.append(strides.materialise(context))
    context.finish(result)


def _broadcast(context: Context, left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """max(x, y), but 0 where either is 0."""
    ones = ShapeTensor((1,) * len(right.values))
    smaller = sizes.minimum(context, left, sizes.minimum(context, right, ones))
    return sizes.multiply(context, sizes.maximum(context, left, right), smaller)


def import_tile(context: Context) -> None:
    """Tile: one SLICE that wraps around."""
    data = context.tensor(0)
    out = context.output().shape
    from_nodes = _from_node(context, 1)
    attributes = Slice((), (), (), "WRAP", parameters_from_nodes=from_nodes)
    if out is not None and None not in out:
        extents = tuple(int(size or 0) for size in out)
        rank = len(extents)
        attributes = Slice((0,) * rank, extents, (1,) * rank, "WRAP", 0.0, from_nodes)
    repeats = sizes.from_input(context, 1, len(data.shape or ()))
    size = sizes.multiply(context, sizes.shape_of(data), repeats)
    size = ShapeTensor(out or size.values, tensor=size.tensor, depth=size.depth) if not size.known else size
    context.finish(sizes.add_slice(context, data, size, attributes, None))
