"""Pad: one SLICE that starts outside of its input."""

from __future__ import annotations

from collections.abc import Sequence

from dlaflow.graph.layer import ElementWise, Slice, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.shuffle import identity
from dlaflow.graph.lower.sizes import OpenSize
from dlaflow.graph.lower.slice import from_node

_MODES = {"constant": "FILL", "reflect": "REFLECT", "edge": "CLAMP", "wrap": "WRAP"}


def import_pad(context: Context) -> None:
    """Pad: one SLICE whose start lies outside; without any padding an IDENTITY."""
    data = context.tensor(0)
    out = context.output().shape
    pads = _amounts(context)
    computed = not context.is_absent(1) and not context.operand(1).weights
    filling = _filling_tensor(context)
    if pads is not None and not computed and not any(pads):
        context.finish(identity(context, data))
        return
    mode = _MODES.get(context.attributes.text("mode", "constant"), "FILL")
    fill = context.attributes.number("value", 0.0)
    given = context.value(2)
    if given is not None and given.size:
        fill = float(given.reshape(-1)[0])
    attributes = Slice((), (), (), mode, fill, from_node(context, 1))
    rank = len(data.shape or ())
    if pads is not None and rank and out is not None and None not in out:
        begin = [0] * rank
        axes = context.integers(3) or tuple(range(rank))
        for number, axis in enumerate(axes):
            begin[axis % rank] = -pads[number]
        extents = tuple(int(size or 0) for size in out)
        attributes = Slice(tuple(begin), extents, (1,) * rank, mode, fill, attributes.parameters_from_nodes)
    parameters = _computed(context, data) if computed else _known(context, data)
    if context.parser.names_every_layer:
        context.names.layer("ONNXTRT_ShapeSlice")
    result = context.emit("SLICE", [data, *parameters], out, attributes, name="")
    draft = context.drafts[-1]
    if mode == "FILL" and filling is None and fill != 0.0:
        filling = context.constant((), data.dtype)
    if filling is not None:
        draft.inputs.append(filling)
    context.finish(context.rename(draft, result))


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
    rank = len(data.shape or ())
    if context.parser.names_every_layer:
        size = _padded(context, data)
        return [] if size.known else [size.materialise(context)]
    dtype = "int64" if context.parser.int64 else "int32"
    start, total = context.constant((rank,), dtype), context.constant((rank,), dtype)
    dims = sizes.shape_of(data).materialise(context)
    return [start, context.emit("ELEMENTWISE", [dims, total], (rank,), ElementWise("SUM", 1), name="")]


def _padded(context: Context, data: Tensor) -> ShapeTensor:
    """The sizes of the padded axes."""
    rank = len(data.shape or ())
    amounts = _amounts(context) or (0,) * (2 * rank)
    axes = tuple(axis % max(rank, 1) for axis in context.integers(3) or range(rank))
    total = tuple(before + after for before, after in zip(amounts[: len(axes)], amounts[len(axes) :], strict=True))
    dims = sizes.gather(context, sizes.shape_of(data), ShapeTensor(axes))
    return sizes.add(context, dims, ShapeTensor(total))


def _computed(context: Context, data: Tensor) -> list[Tensor]:
    """Start and size of a Pad whose amounts are computed in the network: two slices and sums."""
    rank = len(data.shape or ())
    pads = context.tensor(1)
    if context.parser.names_every_layer:
        return _computed_with_names(context, data, pads)
    before, after = (
        context.emit("SLICE", [pads], (rank,), Slice((first,), (rank,), (1,)), name="") for first in (0, rank)
    )
    zeros = context.constant((rank,), before.dtype)
    start = context.emit("ELEMENTWISE", [zeros, before], (rank,), ElementWise("SUB", 0, True), name="")
    total = context.emit("ELEMENTWISE", [before, after], (rank,), ElementWise("SUM"), name="")
    dims = sizes.shape_of(data).materialise(context)
    return [start, context.emit("ELEMENTWISE", [dims, total], (rank,), ElementWise("SUM"), name="")]


def _computed_with_names(context: Context, data: Tensor, pads: Tensor) -> list[Tensor]:
    rank = len(data.shape or ())
    extent, one = ShapeTensor((rank,)), sizes.vector(1)
    halves = [
        sizes.add_slice(context, pads, (sizes.vector(first), extent, one), Slice((first,), (rank,), (1,)), None)
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
