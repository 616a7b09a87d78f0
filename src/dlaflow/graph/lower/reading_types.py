"""Which types of data the importers take: boolean, integer and 8-bit tensors are refused here and there.

QuantizeLinear and DequantizeLinear must be symmetric besides, with positive scales, one for each channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import (
    REDUCTIONS,
    Check,
    Checks,
    Objection,
    before,
    dims,
    has,
    is_computed,
    is_one_of,
    is_weights,
    numbers,
    parser_type,
    seen,
)

_CAST = "Cast it to a floating type before."
_SYMMETRIC = "Quantize symmetrically: INT8 with zero points of 0."
_FLOATS = frozenset({"float32", "float16", "bfloat16"})

_PICKING = "Gather GatherElements GatherND"
_ROOTS = "ReduceL2 ReduceLogSum ReduceLogSumExp"


class RefusedTypes(NamedTuple):
    """Types that operators refuse at some of their inputs, in the releases from `start` on and before `end`.

    `since` is the first release that takes them, "" when none is known; it stands for `end` too.
    """

    operators: str
    types: str
    inputs: tuple[int, ...] = (0,)
    since: str = ""
    start: str = "0"
    end: str = "99"


_ANY_INPUT = tuple(range(32))
REFUSED_TYPES = (
    RefusedTypes(
        "Relu Sigmoid Tanh LeakyRelu Elu Selu Softplus Softsign ScaledTanh ThresholdedRelu HardSigmoid",
        "int32 bool uint8",
    ),
    RefusedTypes(
        "Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor Log Reciprocal Round Sin Sinh Sqrt Tan",
        "int32 int64 bool uint8",
    ),
    RefusedTypes("Abs Neg", "int32 int64 bool uint8", end="8.0"),
    RefusedTypes("Abs Neg", "bool uint8", start="8.5"),
    RefusedTypes("Sign", "int32 bool uint8", since="10.0"),
    RefusedTypes("Sign", "bool uint8", start="10.0"),
    RefusedTypes("Add Sub Mul Div Max Min Sum Mean Greater Less GreaterOrEqual LessOrEqual", "bool", _ANY_INPUT),
    RefusedTypes("Equal", "bool", (0, 1), since="8.5"),
    RefusedTypes("Gemm MatMul", "int32 int64", (0, 1), end="8.5"),
    RefusedTypes("Gemm MatMul", "int32 int64", start="8.5"),
    RefusedTypes("PRelu", "int32 int64", (0, 1)),
    RefusedTypes(_PICKING, "bool", since="8.5"),
    RefusedTypes(_PICKING, "uint8", start="8.5"),
    RefusedTypes("Where", "bool", (1, 2), since="8.5"),
    RefusedTypes("Where", "uint8", (1, 2), start="8.5"),
    # 8-bit unsigned tensors, which only an input or an output may be, reach nothing but a Cast.
    RefusedTypes("Concat Expand EyeLike Pad Slice Split Tile Trilu", "uint8", start="8.5"),
    RefusedTypes("ReverseSequence Scatter ScatterElements ScatterND OneHot", "uint8", start="8.5"),
    RefusedTypes("ArgMax ArgMin TopK", "int32", since="8.6"),
    RefusedTypes("ArgMax ArgMin TopK", "uint8", start="8.5"),
    RefusedTypes(_ROOTS, "int32 int64 bool uint8"),
    RefusedTypes(REDUCTIONS, "bool uint8", start="10.0"),
    RefusedTypes("HardSwish", "bool", end="8.5"),
    RefusedTypes("Shrink", "bool uint8"),
    RefusedTypes("Shrink", "int8", end="8.5"),
    RefusedTypes("DepthToSpace SpaceToDepth GridSample", "bool uint8"),
    RefusedTypes("Resize Upsample", "int32", since="8.5"),
    RefusedTypes("Resize Upsample", "bool"),
    RefusedTypes("Resize Upsample", "uint8", start="8.5"),
    RefusedTypes("Resize Upsample", "int32 int64", start="10.8"),
)


def _check_of(row: RefusedTypes) -> Check:
    types, start, end = row.types.split(), numbers(row.start), numbers(row.since or row.end)

    def check(context: Context) -> Iterator[Objection]:
        if start <= context.parser.version < end:
            for index in row.inputs[: len(context.node.input)]:
                yield from _refusal(context, index, types, row.since)

    return check


def _refusal(context: Context, index: int, types: list[str], since: str = "") -> Iterator[Objection]:
    if is_one_of(context, index, *types):
        found = context.operand(index).tensor.dtype
        yield Objection(f"{context.node.op_type} of {found} is not taken", since, _CAST)


def check_boolean(context: Context) -> Iterator[Objection]:
    """And, Or, Xor and Not are for booleans."""
    for index in range(len(context.node.input)):
        known = parser_type(context, index)
        if known not in ("", "bool"):
            yield Objection(f"{context.node.op_type} of {known} is not taken", then="Cast it to bool before.")


def check_infinite(context: Context) -> Iterator[Objection]:
    """IsInf is for floating types."""
    known = parser_type(context, 0)
    if known and known not in _FLOATS:
        yield Objection(f"IsInf of {known} is not taken", then=_CAST)


def check_power(context: Context) -> Iterator[Objection]:
    """Pow takes no integers up to 10.7, not even an exponent of them."""
    for index, what in enumerate(("a base", "an exponent") if seen(context) else ()):
        if is_one_of(context, index, "int32", "int64", "bool"):
            found = context.operand(index).tensor.dtype
            yield Objection(f"Pow with {what} of {found} is not taken", "11.4", "Store the exponent as float.")


def check_remainder(context: Context) -> Iterator[Objection]:
    """Mod without fmod is for integers."""
    known = parser_type(context, 0)
    if context.attributes.integer("fmod") == 0 and known not in ("", "int32", "int64"):
        yield Objection(f"Mod of {known} without fmod is not taken", then="Set the attribute fmod to 1.")
    if not before(context, "8.5"):
        yield from _refusal(context, 0, ["uint8"])


def check_floating(context: Context) -> Iterator[Objection]:
    """Operators that are for FLOAT and HALF alone."""
    known = parser_type(context, 0)
    newer = known == "bfloat16" and context.node.op_type != "Mish" and not seen(context)
    if known not in ("", "float32", "float16") and not newer:
        yield Objection(f"{context.node.op_type} of {known} is not taken", then=_CAST)


def check_hard_swish(context: Context) -> Iterator[Objection]:
    """HardSwish: any number in 8.4, afterwards floating types and INT8."""
    if not before(context, "8.5") and parser_type(context, 0) != "int8":
        yield from check_floating(context)


def check_clip(context: Context) -> Iterator[Objection]:
    """Clip of integers, or with bounds that are computed, becomes Min and Max; in 8.4 not in FP16."""
    computed = is_computed(context, 1) or is_computed(context, 2)
    if computed and before(context, "8.5") and is_one_of(context, 0, "float16"):
        yield Objection(
            "Clip in FP16 with bounds that are computed is not taken", "8.5", "Store the bounds as weights."
        )
    yield from _refusal(context, 0, ["bool", "uint8", *(["int8"] if computed else [])])


def check_counted(context: Context) -> Iterator[Objection]:
    """Range is for INT32, INT64 and FLOAT."""
    known = parser_type(context, 0)
    if known not in ("", "int32", "int64", "float32"):
        yield Objection(f"Range of {known} is not taken", then="Count in float32 or int64 and Cast afterwards.")


def check_same_floats(context: Context) -> Iterator[Objection]:
    """DeformConv, and InstanceNormalization since it is a layer of its own (10.0): all of one floating type."""
    if context.node.op_type == "InstanceNormalization" and before(context, "10.0"):
        return
    types = {parser_type(context, index) for index in range(len(context.node.input))} - {""}
    if len(types) > 1:
        reason = f"inputs of {' and '.join(sorted(types))} are not taken together"
        yield Objection(reason, then="Cast them to one type.")
    yield from check_floating(context)


def check_quantization(context: Context) -> Iterator[Objection]:
    """Everything that is asked of a pair's nodes, in the parser's order; the zero point's type decides on the sign."""
    if before(context, "9.0") and len(context.node.input) < 3:
        yield Objection("no zero point is given", "9.0", "Write a zero point of int8 zeros.")
    unsigned = has(context, 2) and context.operand(2).tensor.dtype == "uint8"
    quantizes = context.node.op_type == "QuantizeLinear" and not is_weights(context, 2)
    if not before(context, "8.5") and seen(context) and (is_one_of(context, 0, "uint8") or (unsigned and quantizes)):
        yield Objection("uint8 is not taken", then=_SYMMETRIC)
    values, zeros = (context.value(index) if is_weights(context, index) else None for index in (1, 2))
    if values is not None and (values.size == 0 or not bool((values > 0).all())):
        yield Objection("a scale that is not positive", then="Calibrate again; dead channels get a scale of 0.")
    if zeros is not None and bool(zeros.astype("float32").any()):
        yield Objection("a zero point other than 0 is not taken", then=_SYMMETRIC)
    x, scale, zero = dims(context, 0), dims(context, 1), dims(context, 2)
    if scale is None or None in scale:
        return
    scales = prod(size or 0 for size in scale)
    if zero is not None and None not in zero and (points := prod(size or 0 for size in zero)) != scales:
        yield Objection(f"{scales} scales and {points} zero points", then="Give one zero point a scale.")
    axis = context.attributes.integer("axis", 0)
    if x is None or scales == 1 or len(scale) > 1 or not -len(x) <= axis < len(x) or x[axis] in (None, scales):
        return
    yield Objection(f"{scales} scales for {x[axis]} channels", then="Set axis to the quantized dimension.")


CHECKS: Checks = (
    *((row.operators, _check_of(row)) for row in REFUSED_TYPES),
    ("And Or Xor Not", check_boolean),
    ("IsInf", check_infinite),
    ("Pow", check_power),
    ("Mod", check_remainder),
    ("LpNormalization LpPool MeanVarianceNormalization Mish Hardmax", check_floating),
    ("HardSwish", check_hard_swish),
    ("Clip", check_clip),
    ("Range", check_counted),
    ("DequantizeLinear QuantizeLinear", check_quantization),
    ("DeformConv InstanceNormalization", check_same_floats),
)
