"""What QuantizeLinear and DequantizeLinear must look like: symmetric, with positive scales, one for each channel."""

from __future__ import annotations

from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import (
    Check,
    Objection,
    before,
    dims,
    has,
    is_one_of,
    is_weights,
    seen,
)

_SYMMETRIC = "Quantize symmetrically: INT8 with zero points of 0."


def check_quantization(context: Context) -> Objection | None:
    """Everything that is asked of a pair's nodes, in the parser's order."""
    return _zero_point_there(context) or _type(context) or _scale(context) or _zero_point(context) or _channels(context)


def _zero_point_there(context: Context) -> Objection | None:
    if before(context, "9.0") and len(context.node.input) < 3:
        return Objection("no zero point is given", "9.0", "Write a zero point of int8 zeros.")
    return None


def _type(context: Context) -> Objection | None:
    """Unsigned 8-bit quantization: what decides is the type of the zero point."""
    if before(context, "8.5") or not seen(context):
        return None
    unsigned = has(context, 2) and context.operand(2).tensor.dtype == "uint8"
    quantizes = context.node.op_type == "QuantizeLinear" and not is_weights(context, 2)
    if is_one_of(context, 0, "uint8"):
        return Objection("uint8 is not taken", then=_SYMMETRIC)
    return Objection("uint8 is not taken", then=_SYMMETRIC) if unsigned and quantizes else None


def _scale(context: Context) -> Objection | None:
    scale = context.value(1) if is_weights(context, 1) else None
    if scale is not None and (scale.size == 0 or not bool((scale > 0).all())):
        return Objection("a scale that is not positive", then="Calibrate again; dead channels get a scale of 0.")
    return None


def _zero_point(context: Context) -> Objection | None:
    zero = context.value(2) if is_weights(context, 2) else None
    if zero is not None and bool(zero.astype("float32").any()):
        return Objection("a zero point other than 0 is not taken", then=_SYMMETRIC)
    scale, shape = dims(context, 1), dims(context, 2)
    if scale is None or shape is None or None in scale or None in shape:
        return None
    if _volume(scale) != _volume(shape):
        return Objection(
            f"{_volume(scale)} scales and {_volume(shape)} zero points", then="Give one zero point a scale."
        )
    return None


def _volume(shape: tuple[int | None, ...]) -> int:
    total = 1
    for size in shape:
        total *= size or 0
    return total


def _channels(context: Context) -> Objection | None:
    x, scale = dims(context, 0), dims(context, 1)
    if x is None or scale is None or None in scale or _volume(scale) == 1 or len(scale) > 1:
        return None
    axis = context.attributes.integer("axis", 0)
    if not -len(x) <= axis < len(x) or x[axis] in (None, _volume(scale)):
        return None
    return Objection(f"{_volume(scale)} scales for {x[axis]} channels", then="Set axis to the quantized dimension.")


CHECKS: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), (check_quantization,)),
}
