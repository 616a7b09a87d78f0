"""Operators that become SLICE layers: Slice, Split, Pad, Expand, Tile."""

from __future__ import annotations

from dlaflow.graph.layer import Dims, Slice, Tensor
from dlaflow.graph.lower.broadcast import to_rank
from dlaflow.graph.lower.context import Context, Operand

_PAD_MODES = {"constant": "FILL", "reflect": "REFLECT", "edge": "CLAMP", "wrap": "WRAP"}


def import_slice(context: Context) -> None:
    """Slice: one SLICE."""
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
        sizes = tuple(size or 0 for size in out)
        attributes = Slice(tuple(begin), sizes, tuple(stride), parameters_from_nodes=from_nodes)
    context.finish(context.emit("SLICE", [data], out, attributes))


def _clamped(start: int, size: int | None, step: int) -> int:
    if size is None:
        return start
    if start < 0:
        start += size
    return max(0, min(start, size if step > 0 else size - 1))


def _from_node(context: Context, index: int) -> bool:
    """Whether an input is the output of a node, Constant or shape arithmetic, rather than an initializer."""
    if context.is_absent(index):
        return False
    name = context.node.input[index]
    return all(name != tensor.name for tensor in context.model.proto.graph.initializer)


def import_split(context: Context) -> None:
    """Split: one SLICE for each output, at growing starts."""
    operand = context.operand(0)
    data = context.as_tensor(operand)
    rank = len(data.shape or ())
    axis = context.attributes.integer("axis", 0) % max(rank, 1)
    results: list[Tensor] = []
    start: int | None = 0
    for index in range(len(context.node.output)):
        out = context.output(index).shape
        size = out[axis] if out is not None and axis < len(out) else None
        attributes = Slice((), (), ())
        if out is not None and None not in out and start is not None:
            begin = tuple(start if number == axis else 0 for number in range(rank))
            attributes = Slice(begin, tuple(extent or 0 for extent in out), (1,) * rank)
        results.append(context.emit("SLICE", [data], out, attributes))
        start = None if size is None or start is None else start + size
    context.finish(*results)


def import_pad(context: Context) -> None:
    """Pad: one SLICE whose start lies outside; without any padding nothing, or an IDENTITY."""
    data = context.tensor(0)
    out = context.output().shape
    pads = context.attributes.integers("pads")
    if pads is None:
        pads = context.attributes.integers("paddings") or context.integers(1)
    if pads is not None and not any(pads):
        if context.parser.names_every_layer:
            context.finish(context.emit("IDENTITY", [data], data.shape, name="ONNXTRT_identity"))
        else:
            context.finish(Operand(data))
        return
    mode = _PAD_MODES.get(context.attributes.text("mode", "constant"), "FILL")
    fill = context.attributes.number("value", 0.0)
    given = context.value(2)
    if given is not None and given.size:
        fill = float(given.reshape(-1)[0])
    from_nodes = _from_node(context, 1)
    attributes = Slice((), (), (), mode, fill, from_nodes)
    rank = len(data.shape or ())
    if pads is not None and rank and out is not None and None not in out:
        begin = [0] * rank
        axes = context.integers(3) or tuple(range(rank))
        for number, axis in enumerate(axes):
            begin[axis % rank] = -pads[number]
        sizes = tuple(size or 0 for size in out)
        attributes = Slice(tuple(begin), sizes, (1,) * rank, mode, fill, from_nodes)
    context.finish(context.emit("SLICE", [data], out, attributes))


def import_expand(context: Context) -> None:
    """Expand: one SLICE with stride 0 along the axes that grow."""
    data = context.tensor(0)
    out = context.output().shape
    data = to_rank(context, data, len(out or ()))
    context.finish(context.emit("SLICE", [data], out, _stretched(context, data, out)))


def _stretched(context: Context, data: Tensor, out: Dims | None) -> Slice:
    from_nodes = _from_node(context, 1)
    if out is None or None in out or data.shape is None:
        return Slice((), (), (), parameters_from_nodes=from_nodes)
    stride = tuple(0 if size == 1 else 1 for size in data.shape)
    sizes = tuple(size or 0 for size in out)
    return Slice((0,) * len(sizes), sizes, stride, parameters_from_nodes=from_nodes)


def import_tile(context: Context) -> None:
    """Tile: one SLICE that wraps around."""
    data = context.tensor(0)
    out = context.output().shape
    attributes = Slice((), (), (), "WRAP", parameters_from_nodes=_from_node(context, 1))
    if out is not None and None not in out:
        sizes = tuple(size or 0 for size in out)
        rank = len(sizes)
        attributes = Slice((0,) * rank, sizes, (1,) * rank, "WRAP", 0.0, attributes.parameters_from_nodes)
    context.finish(context.emit("SLICE", [data], out, attributes))
