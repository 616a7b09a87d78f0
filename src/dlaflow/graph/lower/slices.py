"""Operators that become SLICE layers: Slice, Expand, Tile, Split and Pad."""

from __future__ import annotations

from dlaflow.graph.layer import Cast, Dims, ElementWise, Slice, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context, Outputs
from dlaflow.graph.lower.helpers import enlarged
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.shuffle import identity
from dlaflow.graph.lower.sizes import all_known, parser_knows

Bounds = tuple[ShapeTensor, ShapeTensor, ShapeTensor]
"""Start, size and stride of a SLICE, or starts, ends and steps of a Slice."""
_PAD_MODES = {"constant": "FILL", "reflect": "REFLECT", "edge": "CLAMP", "wrap": "WRAP"}


def import_slice(context: Context) -> Outputs:
    """Slice: one SLICE; what the parser cannot compute of its start and size stands in the network before it."""
    data = context.tensor(0)
    out = context.output().shape
    if context.is_absent(1):
        starts, axes, steps = context.attributes.integers("starts"), context.attributes.integers("axes"), None
        from_nodes = False
    else:
        starts, axes, steps = context.integers(1), context.integers(3), context.integers(4)
        from_nodes = any(_from_node(context, index) for index in range(1, len(context.node.input)))
    attributes = Slice(parameters_from_nodes=from_nodes)
    extents = all_known(out)
    if starts is not None and data.rank and extents is not None:
        begin, stride = [0] * data.rank, [1] * data.rank
        for number, start in enumerate(starts):
            axis = (axes[number] if axes is not None else number) % data.rank
            size = (data.shape or ())[axis]
            stride[axis] = steps[number] if steps is not None else 1
            begin[axis] = _clamped(start, size, stride[axis])
        attributes = Slice(tuple(begin), extents, tuple(stride), parameters_from_nodes=from_nodes)
    static = data.shape is None or (context.parser.computes_slices and _is_static(context, data))
    given = None if static else _bounds(context, data)
    if given is None:
        return context.emit("SLICE", [data], out, attributes)
    return sizes.add_slice(context, data, given, attributes, None)


def _clamped(start: int, size: int | None, step: int) -> int:
    if size is None:
        return start
    if start < 0:
        start += size
    return int(max(0, min(start, size if step > 0 else size - 1)))


def _from_node(context: Context, index: int) -> bool:
    """Whether an input is the output of a node, Constant or shape arithmetic, rather than an initializer."""
    return not context.is_absent(index) and context.node.input[index] not in context.initializers


def _bounds(context: Context, data: Tensor) -> Bounds | None:
    """Start, size and stride, negative and oversized indices brought into range; None where they do not fit.

    Newer parsers take starts and ends as tensors even when they are weights; the newest compute for the sliced axes
    alone, older ones for all axes, interlaced with the tensor's own shape.
    """
    starts, ends, axes, steps = _given(context)
    count = len(starts.values)
    if axes is None:
        axes = tuple(range(count))
    if len(axes) != count or len(ends.values) != count or not count or not data.rank:
        return None
    axes = tuple(axis % data.rank for axis in axes)
    dims = sizes.shape_of(data)
    if context.parser.slices_axes_alone:
        dims = sizes.gather(context, dims, ShapeTensor(axes))
    elif axes != tuple(range(data.rank)):
        order = list(range(data.rank))
        for number, axis in enumerate(axes):
            order[axis] = data.rank + number
        subscripts = ShapeTensor(tuple(order))
        starts = sizes.interlace(context, _filled(data.rank, 0), starts, subscripts)
        ends = sizes.interlace(context, dims, ends, subscripts)
        steps = sizes.interlace(context, _filled(data.rank, 1), steps, subscripts)
    return decoded(context, dims, (starts, ends, steps))


def _is_static(context: Context, data: Tensor) -> bool:
    """Whether a parser that computes slices in the network takes this one as numbers: INT32 weights, fixed sizes."""
    given = [context.operand(index) for index in range(1, len(context.node.input)) if not context.is_absent(index)]
    if not given or not all(operand.weights for operand in given):
        return False
    fixed = data.shape is not None and all(parser_knows(size) for size in data.shape)
    return given[0].tensor.dtype == "int32" and fixed


def _given(context: Context) -> tuple[ShapeTensor, ShapeTensor, tuple[int, ...] | None, ShapeTensor]:
    """Starts, ends, axes and steps, from attributes before opset 10 and from inputs since."""
    if context.is_absent(1):
        starts, ends = (ShapeTensor(context.attributes.integers(name) or ()) for name in ("starts", "ends"))
        return starts, ends, context.attributes.integers("axes"), _filled(len(starts.values), 1)
    starts, ends = _input(context, 1), _input(context, 2)
    count = len(starts.values)
    steps = _filled(count, 1) if context.is_absent(4) else sizes.from_input(context, 4, count)
    return starts, ends, context.integers(3), steps


def _input(context: Context, index: int) -> ShapeTensor:
    if not context.parser.computes_slices:
        return sizes.from_input(context, index)
    operand = context.operand(index)
    value = context.integers(index)
    tensor = context.as_tensor(operand)
    shape = tensor.shape or (1,)
    tensor = context.helper("CAST", [tensor], shape, Cast("int64"), "ONNXTRT_castHelper", dtype="int64")
    count = len(value) if value is not None else shape[0] or 0
    return sizes.unknown(count, tensor)


def _filled(count: int, value: int) -> ShapeTensor:
    return ShapeTensor((value,) * count)


def decoded(context: Context, dims: ShapeTensor, given: Bounds) -> Bounds:
    """Starts, ends and steps, one for each of `dims`, as start, size and stride."""
    starts, ends, steps = given
    count = len(dims.values)
    sign = _clamp(context, steps, sizes.vector(-1), sizes.vector(0))
    starts = _from_the_end(context, dims, starts)
    starts = _clamp(context, starts, sizes.vector(0), sizes.add(context, dims, sign))
    ends = _from_the_end(context, dims, ends)
    ends = _clamp(context, ends, sign, dims)
    if steps.known and all(step == 1 for step in steps.values):
        extent = sizes.subtract(context, ends, starts)
    else:
        reach = sizes.floor_divide(context, sizes.subtract(context, starts, ends), steps)
        extent = sizes.subtract(context, _filled(count, 0), reach)
    return starts, sizes.maximum(context, _filled(count, 0), extent), steps


def _clamp(context: Context, values: ShapeTensor, low: ShapeTensor, high: ShapeTensor) -> ShapeTensor:
    return sizes.minimum(context, sizes.maximum(context, values, low), high)


def _from_the_end(context: Context, dims: ShapeTensor, indices: ShapeTensor) -> ShapeTensor:
    """Indices below zero count from the end."""
    signs = _clamp(context, indices, sizes.vector(-1), sizes.vector(0))
    return sizes.subtract(context, indices, sizes.multiply(context, signs, dims))


def import_expand(context: Context) -> Outputs:
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
    from_nodes = _from_node(context, 1)
    attributes = Slice(parameters_from_nodes=from_nodes)
    extents = all_known(out)
    if extents is not None and data.shape is not None:
        stride = tuple(0 if extent == 1 else 1 for extent in data.shape)
        attributes = Slice((0,) * rank, extents, stride, parameters_from_nodes=from_nodes)
    given = ShapeTensor((0,) * rank), size, strides
    return sizes.add_slice(context, data, given, attributes, None)


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


def import_tile(context: Context) -> Outputs:
    """Tile: one SLICE that wraps around."""
    data = context.tensor(0)
    out = context.output().shape
    rank = len(data.shape or out or ())
    from_nodes = _from_node(context, 1)
    attributes = Slice(mode="WRAP", parameters_from_nodes=from_nodes)
    if (extents := all_known(out)) is not None:
        attributes = Slice((0,) * rank, extents, (1,) * rank, "WRAP", 0.0, from_nodes)
    repeats = sizes.from_input(context, 1, rank)
    size = _reached(sizes.multiply(context, sizes.shape_of(data), repeats), out)
    given = ShapeTensor((0,) * rank), size, ShapeTensor((1,) * rank)
    return sizes.add_slice(context, data, given, attributes, None)


def import_split(context: Context) -> Outputs:
    """Split: lengths from an attribute, from an input, or equal ones that the parser works out."""
    data = context.tensor(0)
    count = len(context.node.output)
    if not data.shape:
        shapes = [context.output(index).shape for index in range(count)]
        return [context.emit("SLICE", [data], shape, Slice()) for shape in shapes]
    cutter = _Cutter(context, data)
    given = _given_lengths(context, count)
    lengths = cutter.equal(count) if given is None else []
    start = length = sizes.vector(0)
    starts = ShapeTensor((0,) * data.rank)
    results = []
    for index in range(count):
        if index:
            start = sizes.add(context, start, length)
            starts = cutter.along(ShapeTensor((0,) * data.rank), start)
        if given is None:
            length, extent = lengths[index]
        else:
            length = given[index]
            extent = cutter.along(cutter.dims, length)
        results.append(cutter.cut(starts, extent))
    return results


class _Cutter:
    """One tensor and the axis that it is cut along."""

    def __init__(self, context: Context, data: Tensor) -> None:
        self.context = context
        self.data = data
        self.axis = context.attributes.integer("axis", 0) % data.rank
        self.dims = sizes.shape_of(data)
        self.subscripts = sizes.replacing(data.rank, self.axis)

    def along(self, others: ShapeTensor, value: ShapeTensor) -> ShapeTensor:
        """`others` with `value` for the axis."""
        return sizes.interlace(self.context, others, value, self.subscripts)

    def equal(self, count: int) -> list[tuple[ShapeTensor, ShapeTensor]]:
        """Length and size of equal parts. Older parsers round down; newer ones round up and shorten the last part."""
        context = self.context
        whole = sizes.gather(context, self.dims, sizes.vector(self.axis))
        if not context.parser.reads_opset_18:
            length = sizes.floor_divide(context, whole, sizes.vector(count))
            context.misreads()  # an uneven rest is lost
            return [(length, self.along(self.dims, length))] * count
        length = sizes.floor_divide(context, sizes.add(context, whole, sizes.vector(count - 1)), sizes.vector(count))
        rest = sizes.subtract(context, whole, sizes.multiply(context, length, sizes.vector(count - 1)))
        extent, last = self.along(self.dims, length), self.along(self.dims, rest)
        return [(length, extent)] * (count - 1) + [(rest, last)]

    def cut(self, starts: ShapeTensor, extent: ShapeTensor) -> Tensor:
        """One part."""
        ones = ShapeTensor((1,) * self.data.rank)
        attributes = Slice()
        begin, size = all_known(starts.values), all_known(extent.values)
        if begin is not None and size is not None:
            attributes = Slice(begin, size, (1,) * self.data.rank)
        return sizes.add_slice(self.context, self.data, (starts, extent, ones), attributes, None)


def _given_lengths(context: Context, count: int) -> list[ShapeTensor] | None:
    """The lengths as the model gives them, None where it leaves them to the parser."""
    given = context.attributes.integers("split")
    if given is None and context.is_absent(1):
        return None
    if given is None and context.operand(1).weights:
        given = context.integers(1)
    if given is not None:
        return [sizes.vector(length) for length in given] if len(given) == count else None
    lengths = sizes.from_input(context, 1, count)
    return [sizes.gather(context, lengths, sizes.vector(index)) for index in range(count)]


def import_pad(context: Context) -> Outputs:
    """Pad: one SLICE whose start lies outside; without any padding an IDENTITY."""
    data = context.tensor(0)
    out = context.output().shape
    pads = _amounts(context)
    computed = not context.is_absent(1) and not context.operand(1).weights
    filling = _filling_tensor(context)
    if pads is not None and not computed and not any(pads):
        return identity(context, data)
    mode = _PAD_MODES.get(context.attributes.text("mode", "constant"), "FILL")
    fill = context.attributes.number("value", 0.0)
    given = context.value(2)
    if given is not None and given.size:
        fill = float(given.reshape(-1)[0])
    attributes = Slice(mode=mode, fill=fill, parameters_from_nodes=_from_node(context, 1))
    extents = all_known(out)
    if pads is not None and data.rank and extents is not None:
        begin = [0] * data.rank
        for number, axis in enumerate(context.integers(3) or range(data.rank)):
            begin[axis % data.rank] = -pads[number]
        attributes = Slice(tuple(begin), extents, (1,) * data.rank, mode, fill, attributes.parameters_from_nodes)
    parameters = _computed(context, data) if computed else _known(context, data)
    if context.parser.names_every_layer:
        context.names.layer("ONNXTRT_ShapeSlice")
    result = context.emit("SLICE", [data, *parameters], out, attributes, name="")
    draft = context.drafts[-1]
    if mode == "FILL" and filling is None and fill != 0.0:
        filling = context.constant((), data.dtype)
    if filling is not None:
        draft.inputs.append(filling)
    return context.rename(draft, result)


def _amounts(context: Context) -> tuple[int, ...] | None:
    """The amounts where they are known: in front of all axes, then behind all."""
    pads = context.attributes.integers("pads")
    if pads is None:
        pads = context.attributes.integers("paddings")
    return context.integers(1) if pads is None else pads


def _filling_tensor(context: Context) -> Tensor | None:
    """The filling value as a tensor, where the parser does not read it as a number."""
    if context.is_absent(2):
        return None
    operand = context.operand(2)
    if operand.weights and operand.tensor.dtype.startswith(("float", "bfloat")):
        return None
    return context.as_tensor(operand)


def _known(context: Context, data: Tensor) -> list[Tensor]:
    """Start and size of a Pad whose amounts are known: older parsers write them as constants and a sum."""
    if context.parser.names_every_layer:
        size = _padded(context, data)
        return [] if size.known else [size.materialise(context)]
    return enlarged(context, data, data.rank)


def _padded(context: Context, data: Tensor) -> ShapeTensor:
    """The sizes of the padded axes."""
    amounts = _amounts(context) or (0,) * (2 * data.rank)
    axes = tuple(axis % max(data.rank, 1) for axis in context.integers(3) or range(data.rank))
    total = tuple(before + after for before, after in zip(amounts[: len(axes)], amounts[len(axes) :], strict=True))
    dims = sizes.gather(context, sizes.shape_of(data), ShapeTensor(axes))
    return sizes.add(context, dims, ShapeTensor(total))


def _computed(context: Context, data: Tensor) -> list[Tensor]:
    """Start and size of a Pad whose amounts are computed in the network: two slices and sums."""
    rank, pads = data.rank, context.tensor(1)
    if context.parser.names_every_layer:
        return _computed_with_names(context, data, pads)
    before, after = (
        context.emit("SLICE", [pads], (rank,), Slice((first,), (rank,), (1,)), name="") for first in (0, rank)
    )
    zeros = context.constant((rank,), before.dtype)
    start = context.emit("ELEMENTWISE", [zeros, before], (rank,), ElementWise("SUB", 0), name="")
    total = context.emit("ELEMENTWISE", [before, after], (rank,), ElementWise("SUM"), name="")
    dims = sizes.shape_of(data).materialise(context)
    return [start, context.emit("ELEMENTWISE", [dims, total], (rank,), ElementWise("SUM"), name="")]


def _computed_with_names(context: Context, data: Tensor, pads: Tensor) -> list[Tensor]:
    extent, one = ShapeTensor((data.rank,)), sizes.vector(1)
    halves = [
        sizes.add_slice(context, pads, (sizes.vector(first), extent, one), Slice((first,), (data.rank,), (1,)), None)
        for first in (0, data.rank)
    ]
    values = context.integers(1) or (None,) * (2 * data.rank)
    before = ShapeTensor(sizes.opened(values[: data.rank]), tensor=halves[0])
    after = ShapeTensor(sizes.opened(values[data.rank :]), tensor=halves[1])
    start = sizes.subtract(context, ShapeTensor((0,) * data.rank), before)
    total = sizes.add(context, before, after)
    size = sizes.add(context, sizes.shape_of(data), total)
    return [start.materialise(context), size.materialise(context)]
