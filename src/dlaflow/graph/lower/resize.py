"""Resize and Upsample: one RESIZE."""

from __future__ import annotations

from dlaflow.graph.layer import Resize
from dlaflow.graph.lower.context import Context


def import_resize(context: Context) -> None:
    """Resize: one RESIZE; `sizes_given` tells whether the output's size rather than a scale was exported."""
    data = context.tensor(0)
    out = context.output().shape
    old = len(context.node.input) == 2 and "coordinate_transformation_mode" not in context.attributes
    scales = context.value(1 if old else 2)
    sizes_given = not old and not context.is_absent(3)
    factors: tuple[float, ...] = ()
    if scales is not None and scales.size and not sizes_given:
        factors = tuple(float(value) for value in scales.reshape(-1))
    elif out is not None and data.shape is not None and None not in out and None not in data.shape:
        pairs = zip(out, data.shape, strict=True)
        factors = tuple((new or 0) / size if size else 0.0 for new, size in pairs)
    attributes = Resize(
        mode=context.attributes.text("mode", "nearest"),
        coordinates=context.attributes.text("coordinate_transformation_mode", "asymmetric" if old else "half_pixel"),
        rounding=context.attributes.text("nearest_mode", "floor" if old else "round_prefer_floor"),
        scales=factors,
        sizes_given=sizes_given,
    )
    result = context.emit("RESIZE", [data], out, attributes)
    if sizes_given and (not context.operand(3).weights or not context.parser.names_helpers):
        draft = context.drafts[-1]
        draft.inputs.append(context.tensor(3))
    context.finish(result)


def import_upsample(context: Context) -> None:
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
    context.finish(context.emit("RESIZE", [data], out, attributes))
