"""Which types of data the importers take: boolean, integer and 8-bit tensors are refused here and there."""

from __future__ import annotations

from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import Check, Objection, before, has, is_one_of, parser_type, seen, words

_CAST = "Cast it to a floating type before."
_FLOATS = frozenset({"float32", "float16", "bfloat16"})

ACTIVATIONS = words("Relu Sigmoid Tanh LeakyRelu Elu Selu Softplus Softsign ScaledTanh ThresholdedRelu HardSigmoid")
UNARY = words("Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor Log Reciprocal Round Sin Sinh Sqrt Tan")
_ARITHMETIC = words("Add Sub Mul Div Max Min Sum Mean Greater Less GreaterOrEqual LessOrEqual")
_ROOTS = frozenset(["ReduceL2", "ReduceLogSum", "ReduceLogSumExp"])


def refused_type(context: Context, index: int, *types: str, since: str = "") -> Objection | None:
    """The objection to an input of one of these types."""
    if not is_one_of(context, index, *types):
        return None
    found = context.operand(index).tensor.dtype
    return Objection(f"{context.node.op_type} of {found} is not taken", since, _CAST)


def check_activation(context: Context) -> Objection | None:
    """Activations are for floating types."""
    return refused_type(context, 0, "int32", "bool", "uint8")


def check_unary(context: Context) -> Objection | None:
    """Unary functions are for floating types."""
    return refused_type(context, 0, "int32", "int64", "bool", "uint8")


def check_absolute(context: Context) -> Objection | None:
    """Abs and Neg take integers; boolean ones are refused from 8.5 on."""
    if before(context, "8.0"):
        return check_unary(context)
    return None if before(context, "8.5") else refused_type(context, 0, "bool", "uint8")


def check_sign(context: Context) -> Objection | None:
    """Sign takes integers from 10.0 on."""
    if before(context, "10.0"):
        return refused_type(context, 0, "int32", "bool", "uint8", since="10.0")
    return refused_type(context, 0, "bool", "uint8")


def check_not(context: Context) -> Objection | None:
    """Not is for booleans."""
    known = parser_type(context, 0)
    return (
        Objection(f"Not of {known} is not taken", then="Cast it to bool before.") if known not in ("", "bool") else None
    )


def check_infinite(context: Context) -> Objection | None:
    """IsInf is for floating types."""
    known = parser_type(context, 0)
    return Objection(f"IsInf of {known} is not taken", then=_CAST) if known and known not in _FLOATS else None


def check_logic(context: Context) -> Objection | None:
    """And, Or and Xor are for booleans."""
    for index in range(len(context.node.input)):
        known = parser_type(context, index)
        if known not in ("", "bool"):
            return Objection(f"{context.node.op_type} of {known} is not taken", then="Cast it to bool before.")
    return None


def check_arithmetic(context: Context) -> Objection | None:
    """Arithmetic and ordering are not for booleans."""
    for index in range(len(context.node.input)):
        if objection := refused_type(context, index, "bool"):
            return objection
    return None


def check_equal(context: Context) -> Objection | None:
    """Equal takes booleans from 8.5 on."""
    if not before(context, "8.5"):
        return None
    return next((found for index in (0, 1) if (found := refused_type(context, index, "bool", since="8.5"))), None)


def check_power(context: Context) -> Objection | None:
    """Pow takes no integers up to 10.7, not even an exponent of them."""
    if not seen(context):
        return None
    for index in (0, 1):
        if is_one_of(context, index, "int32", "int64", "bool"):
            what = "a base" if index == 0 else "an exponent"
            found = context.operand(index).tensor.dtype
            return Objection(f"Pow with {what} of {found} is not taken", "11.4", "Store the exponent as float.")
    return None


def check_matrix(context: Context) -> Objection | None:
    """Gemm and MatMul are not for integers."""
    indices = (0, 1) if before(context, "8.5") else (0,)
    return next((found for index in indices if (found := refused_type(context, index, "int32", "int64"))), None)


def check_slopes(context: Context) -> Objection | None:
    """PRelu is not for integers."""
    return next((found for index in (0, 1) if (found := refused_type(context, index, "int32", "int64"))), None)


def check_picking(context: Context) -> Objection | None:
    """Gather and its kin take booleans from 8.5 on, 8-bit images never."""
    if before(context, "8.5"):
        return refused_type(context, 0, "bool", since="8.5")
    return refused_type(context, 0, "uint8")


def check_select(context: Context) -> Objection | None:
    """Where picks among booleans from 8.5 on."""
    if before(context, "8.5"):
        return next((found for index in (1, 2) if (found := refused_type(context, index, "bool", since="8.5"))), None)
    return next((found for index in (1, 2) if (found := refused_type(context, index, "uint8"))), None)


def check_no_bytes(context: Context) -> Objection | None:
    """8-bit unsigned tensors, which only an input or an output may be, reach nothing but a Cast."""
    return None if before(context, "8.5") else refused_type(context, 0, "uint8")


def check_ranking(context: Context) -> Objection | None:
    """ArgMax, ArgMin and TopK take integers from 8.6 on."""
    if before(context, "8.6"):
        return refused_type(context, 0, "int32", since="8.6") or check_no_bytes(context)
    return check_no_bytes(context)


def check_reduced(context: Context) -> Objection | None:
    """Reductions refuse booleans from 10.0 on; those that end in a function refuse integers."""
    if context.node.op_type in _ROOTS and (objection := check_unary(context)):
        return objection
    return None if before(context, "10.0") else refused_type(context, 0, "bool", "uint8")


def check_remainder(context: Context) -> Objection | None:
    """Mod without fmod is for integers."""
    known = parser_type(context, 0)
    if context.attributes.integer("fmod") == 0 and known not in ("", "int32", "int64"):
        return Objection(f"Mod of {known} without fmod is not taken", then="Set the attribute fmod to 1.")
    return check_no_bytes(context)


def check_floating(context: Context) -> Objection | None:
    """Operators that are for FLOAT and HALF alone."""
    known = parser_type(context, 0)
    if known in ("", "float32", "float16"):
        return None
    if known == "bfloat16" and context.node.op_type != "Mish" and not seen(context):
        return None
    return Objection(f"{context.node.op_type} of {known} is not taken", then=_CAST)


def check_hard_swish(context: Context) -> Objection | None:
    """HardSwish: any number in 8.4, afterwards floating types and INT8."""
    if before(context, "8.5"):
        return refused_type(context, 0, "bool")
    return None if parser_type(context, 0) == "int8" else check_floating(context)


def check_shrink(context: Context) -> Objection | None:
    """Shrink is not for booleans; in 8.4 not for INT8 either."""
    return refused_type(context, 0, "bool", "uint8", *(("int8",) if before(context, "8.5") else ()))


def check_clip(context: Context) -> Objection | None:
    """Clip of integers, or with bounds that are computed, becomes Min and Max; in 8.4 not in FP16."""
    computed = any(has(context, index) and not context.operand(index).weights for index in (1, 2))
    if computed and before(context, "8.5") and is_one_of(context, 0, "float16"):
        return Objection(
            "Clip in FP16 with bounds that are computed is not taken", "8.5", "Store the bounds as weights."
        )
    if computed:
        return refused_type(context, 0, "bool", "int8", "uint8")
    return refused_type(context, 0, "bool", "uint8")


def check_rearranged(context: Context) -> Objection | None:
    """DepthToSpace, SpaceToDepth and GridSample are not for booleans."""
    return refused_type(context, 0, "bool", "uint8")


def check_enlarged(context: Context) -> Objection | None:
    """Resize and Upsample: integers from 8.5 on, as far as the parser is concerned."""
    if before(context, "8.5"):
        return refused_type(context, 0, "int32", "bool", since="8.5" if is_one_of(context, 0, "int32") else "")
    return refused_type(context, 0, "bool", "uint8", *(() if seen(context) else ("int32", "int64")))


def check_counted(context: Context) -> Objection | None:
    """Range is for INT32, INT64 and FLOAT."""
    known = parser_type(context, 0)
    if known in ("", "int32", "int64", "float32"):
        return None
    return Objection(f"Range of {known} is not taken", then="Count in float32 or int64 and Cast afterwards.")


def check_same_floats(context: Context) -> Objection | None:
    """InstanceNormalization from 10.0 on, DeformConv: all of one floating type."""
    types = {parser_type(context, index) for index in range(len(context.node.input))} - {""}
    if len(types) > 1:
        return Objection(
            f"inputs of {' and '.join(sorted(types))} are not taken together", then="Cast them to one type."
        )
    return check_floating(context)


def check_instance_types(context: Context) -> Objection | None:
    """InstanceNormalization asks for one floating type since it is a layer of its own."""
    return None if before(context, "10.0") else check_same_floats(context)


CHECKS: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys(ACTIVATIONS, (check_activation,)),
    **dict.fromkeys(UNARY, (check_unary,)),
    **dict.fromkeys(_ARITHMETIC, (check_arithmetic,)),
    **dict.fromkeys(("Abs", "Neg"), (check_absolute,)),
    **dict.fromkeys(("And", "Or", "Xor"), (check_logic,)),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND"), (check_picking,)),
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK"), (check_ranking,)),
    **dict.fromkeys(("Gemm", "MatMul"), (check_matrix,)),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth", "GridSample"), (check_rearranged,)),
    **dict.fromkeys(("Resize", "Upsample"), (check_enlarged,)),
    **dict.fromkeys(("Concat", "Expand", "EyeLike", "Pad", "Slice", "Split", "Tile", "Trilu"), (check_no_bytes,)),
    **dict.fromkeys(("ReverseSequence", "Scatter", "ScatterElements", "ScatterND", "OneHot"), (check_no_bytes,)),
    **dict.fromkeys(("LpNormalization", "LpPool", "MeanVarianceNormalization", "Mish", "Hardmax"), (check_floating,)),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"), (check_reduced,)
    ),
    **dict.fromkeys(("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"), (check_reduced,)),
    "Clip": (check_clip,),
    "DeformConv": (check_same_floats,),
    "Equal": (check_equal,),
    "HardSwish": (check_hard_swish,),
    "InstanceNormalization": (check_instance_types,),
    "IsInf": (check_infinite,),
    "Mod": (check_remainder,),
    "Not": (check_not,),
    "PRelu": (check_slopes,),
    "Pow": (check_power,),
    "Range": (check_counted,),
    "Shrink": (check_shrink,),
    "Sign": (check_sign,),
    "Where": (check_select,),
}
