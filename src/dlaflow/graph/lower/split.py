"""Split: one SLICE for each output, at growing starts."""

from __future__ import annotations

from dlaflow.graph.layer import Slice, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor


def import_split(context: Context) -> None:
    """Split: lengths from an attribute, from an input, or equal ones that the parser works out."""
    data = context.tensor(0)
    count = len(context.node.output)
    if not data.shape:
        shapes = [context.output(index).shape for index in range(count)]
        context.finish(*(context.emit("SLICE", [data], shape, Slice((), (), ())) for shape in shapes))
        return
    cutter = _Cutter(context, data)
    given = _given_lengths(context, count)
    lengths = cutter.equal(count) if given is None else []
    start = length = sizes.vector(0)
    starts = ShapeTensor((0,) * cutter.rank)
    results = []
    for index in range(count):
        if index:
            start = sizes.add(context, start, length)
            starts = cutter.along(ShapeTensor((0,) * cutter.rank), start)
        if given is None:
            length, extent = lengths[index]
        else:
            length = given[index]
            extent = cutter.along(cutter.dims, length)
        results.append(cutter.cut(starts, extent))
    context.finish(*results)


class _Cutter:
    """One tensor and the axis that it is cut along."""

    def __init__(self, context: Context, data: Tensor) -> None:
        self.context = context
        self.data = data
        self.rank = len(data.shape or ())
        self.axis = context.attributes.integer("axis", 0) % self.rank
        self.dims = sizes.shape_of(data)
        self.subscripts = ShapeTensor(tuple(self.rank if axis == self.axis else axis for axis in range(self.rank)))

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
        ones = ShapeTensor((1,) * self.rank)
        attributes = Slice((), (), ())
        if None not in starts.values and None not in extent.values:
            begin, size = (tuple(int(value or 0) for value in shape.values) for shape in (starts, extent))
            attributes = Slice(begin, size, (1,) * self.rank)
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
