"""Resize and Upsample: one RESIZE."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dlaflow.graph.layer import Cast, Dims, ElementWise, Resize, Tensor, Unary
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context, Draft, Outputs
from dlaflow.graph.lower.shape_tensor import ShapeTensor

if TYPE_CHECKING:
    import numpy as np


def import_resize(context: Context) -> Outputs:
    """Resize: one RESIZE; `sizes_given` is whether the output's size rather than a scale was exported."""
    data = context.tensor(0)
    out = context.output().shape
    old = len(context.node.input) == 2 and "coordinate_transformation_mode" not in context.attributes
    where = 1 if old else 2
    sizes_given = not old and not context.is_absent(3)
    coordinates = context.attributes.text("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    attributes = Resize(
        mode=context.attributes.text("mode", "nearest"),
        coordinates=coordinates,
        rounding=context.attributes.text("nearest_mode", "floor" if old else "round_prefer_floor"),
        scales=() if sizes_given else _spread(context, context.value(where), data.rank),
        sizes_given=sizes_given,
    )
    if not attributes.scales:
        attributes = replace(attributes, scales=_ratios(out, data.shape))
    shape = _sizes_without_axes(context) if sizes_given else out
    result = context.emit("RESIZE", [data], out if shape is None else shape, attributes)
    draft = context.drafts[-1]
    if sizes_given:
        _add_sizes(context, draft, data)
    elif not context.is_absent(where) and not context.operand(where).weights:
        draft.inputs.append(_computed_size(context, data, context.tensor(where)))
    return result


def _spread(context: Context, scales: np.ndarray | None, rank: int) -> tuple[float, ...]:
    """The scales of all axes, where opset 18 gives those of `axes` alone."""
    if scales is None or not scales.size:
        return ()
    values = tuple(float(value) for value in scales.reshape(-1))
    axes = context.attributes.integers("axes")
    if axes is None or len(axes) != len(values) or not rank:
        return values
    whole = [1.0] * rank
    for axis, value in zip(axes, values, strict=True):
        whole[axis % rank] = value
    return tuple(whole)


def _ratios(out: Dims | None, data: Dims | None) -> tuple[float, ...]:
    if out is None or data is None or None in out or None in data or len(out) != len(data):
        return ()
    return tuple((new or 0) / size if size else 0.0 for new, size in zip(out, data, strict=True))


def _sizes_without_axes(context: Context) -> Dims | None:
    """The output as older parsers read `sizes` with `axes`: as if it were all dimensions."""
    if "axes" not in context.attributes or context.parser.reads_opset_18:
        return None
    context.misreads()
    return context.integers(3)


def _add_sizes(context: Context, draft: Draft, data: Tensor) -> None:
    """The sizes as an input of the layer, unless they are weights and the release takes those as numbers."""
    operand = context.operand(3)
    if operand.weights and context.parser.names_helpers:
        return
    given = context.tensor(3)
    axes, rank = context.attributes.integers("axes"), data.rank
    if axes is not None and context.parser.reads_opset_18 and tuple(axes) != tuple(range(rank)) and rank:
        order = list(range(rank))
        for number, axis in enumerate(axes):
            order[axis % rank] = rank + number
        values = ShapeTensor((None,) * len(axes), tensor=given)
        given = sizes.interlace(context, sizes.shape_of(data), values, ShapeTensor(tuple(order))).materialise(context)
    draft.inputs.append(given)


def _computed_size(context: Context, data: Tensor, scales: Tensor) -> Tensor:
    """The output's size from scales that only the network knows: shape times scales, rounded down."""
    rank = (data.rank,)
    label = "ONNXTRT_resizeShapeTensor_{}".format
    kind = "CAST" if context.parser.cast_helpers else "IDENTITY"
    shape = sizes.shape_of(data).materialise(context)
    shape = context.helper(kind, [shape], rank, Cast("float32"), label("floatCast"), dtype="float32")
    product = context.helper("ELEMENTWISE", [scales, shape], rank, ElementWise("PROD"), label("prod"))
    floor = context.helper("UNARY", [product], rank, Unary("FLOOR"), label("floor"))
    return context.helper(kind, [floor], rank, Cast("int32"), label("intCast"), dtype="int32")


def import_upsample(context: Context) -> Outputs:
    """Upsample: one RESIZE with asymmetric coordinates."""
    data = context.tensor(0)
    out = context.output().shape
    scales = context.attributes.numbers("scales")
    if scales is None:
        value = context.value(1)
        scales = () if value is None else tuple(float(entry) for entry in value.reshape(-1))
    mode = context.attributes.text("mode", "nearest")
    attributes = Resize(mode, "asymmetric", "floor", scales, False)
    if context.parser.names_every_layer:
        context.names.layer(context.node_name)
    result = context.emit("RESIZE", [data], out, attributes)
    draft = context.drafts[-1]
    if not context.is_absent(1) and not context.operand(1).weights:
        draft.inputs.append(_computed_size(context, data, context.tensor(1)))
    return result
