"""Operators that become one SLICE layer: Slice, Expand, Tile."""

from __future__ import annotations

from dlaflow.graph.layer import Dims, Slice
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.slice_bounds import bounds, is_static


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
        from_nodes = any(from_node(context, index) for index in range(1, len(context.node.input)))
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
    if data.shape is None or (context.parser.computes_slices and is_static(context, data)):
        context.finish(context.emit("SLICE", [data], out, attributes))
        return
    given = bounds(context, data)
    if given is None:
        context.finish(context.emit("SLICE", [data], out, attributes))
        return
    context.finish(sizes.add_slice(context, data, given, attributes, None))


def _clamped(start: int, size: int | None, step: int) -> int:
    if size is None:
        return start
    if start < 0:
        start += size
    return int(max(0, min(start, size if step > 0 else size - 1)))


def from_node(context: Context, index: int) -> bool:
    """Whether an input is the output of a node, Constant or shape arithmetic, rather than an initializer."""
    return not context.is_absent(index) and context.node.input[index] not in context.initializers


def import_expand(context: Context) -> None:
    """Expand: one SLICE with stride 0 along the axes that grow."""
    data = context.tensor(0)
    out = context.output().shape
    if out is None and (asked := context.shape(1)) and asked[0] is not None:
        out = (None,) * min(int(asked[0]), sizes.MOST)  # of an input without a rank: inside a Loop or Scan
    rank = len(out or ())
    wanted = sizes.from_input(context, 1, rank)
    dims = sizes.shape_of(data) if data.shape is not None else ShapeTensor((None,) * rank, tensor=data, depth=1)
    if data.shape is not None and len(data.shape) < rank:
        ones = ShapeTensor((1,) * (rank - len(data.shape)))
        dims = sizes.concat(context, ones, dims)
        data = sizes.reshape(context, data, dims)
    if len(wanted.values) < rank:
        wanted = sizes.concat(context, ShapeTensor((1,) * (rank - len(wanted.values))), wanted)
    size = _reached(_broadcast(context, dims, wanted), out)
    one = sizes.vector(1)
    grown = sizes.subtract(context, dims, one)
    if context.parser.names_every_layer:
        grown = sizes.maximum(context, sizes.vector(0), grown)
    strides = sizes.minimum(context, one, grown)
    from_nodes = from_node(context, 1)
    attributes = Slice((), (), (), parameters_from_nodes=from_nodes)
    if out is not None and None not in out and data.shape is not None:
        stride = tuple(0 if extent == 1 else 1 for extent in data.shape)
        attributes = Slice(
            (0,) * rank, tuple(int(extent or 0) for extent in out), stride, "STRICT_BOUNDS", 0.0, from_nodes
        )
    given = ShapeTensor((0,) * rank), size, strides
    context.finish(sizes.add_slice(context, data, given, attributes, None))


def _reached(size: ShapeTensor, out: Dims | None) -> ShapeTensor:
    """A size that the parser computes in the network, with what inference knows of it."""
    if size.known or out is None:
        return size
    return ShapeTensor(out, tensor=size.tensor, depth=size.depth)


def _broadcast(context: Context, left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """max(x, y), but 0 where either is 0."""
    ones = ShapeTensor((1,) * len(right.values))
    smaller = sizes.minimum(context, left, sizes.minimum(context, right, ones))
    return sizes.multiply(context, sizes.maximum(context, left, right), smaller)


def import_tile(context: Context) -> None:
    """Tile: one SLICE that wraps around."""
    data = context.tensor(0)
    out = context.output().shape
    rank = len(data.shape or out or ())
    from_nodes = from_node(context, 1)
    attributes = Slice((), (), (), "WRAP", parameters_from_nodes=from_nodes)
    if out is not None and None not in out:
        extents = tuple(int(size or 0) for size in out)
        attributes = Slice((0,) * rank, extents, (1,) * rank, "WRAP", 0.0, from_nodes)
    repeats = sizes.from_input(context, 1, rank)
    size = _reached(sizes.multiply(context, sizes.shape_of(data), repeats), out)
    given = ShapeTensor((0,) * rank), size, ShapeTensor((1,) * rank)
    context.finish(sizes.add_slice(context, data, given, attributes, None))
