"""Attributes that the importers refuse."""

from __future__ import annotations

from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import Check, Objection, before, is_one_of, opset, seen

_EVAL = "Export with model.eval()."
_CAST_TYPES = {1, 3, 6, 7, 9, 10, 11}
"""ONNX's numbers of FLOAT, INT8, INT32, INT64, BOOL, FLOAT16 and DOUBLE."""
_UINT8, _BFLOAT16, _FLOAT8, _INT4 = 2, 16, 17, 22
_NEWEST_TYPES = 16


def check_indices(context: Context) -> Objection | None:
    """MaxPool with its second output."""
    if len(context.node.output) > 1:
        return Objection(
            "the indices output is not taken",
            then="Export without return_indices; upsample by Resize or ConvTranspose.",
        )
    return None


def check_dilations(context: Context) -> Objection | None:
    """Pools with holes."""
    if opset(context) >= 10 and set(context.attributes.integers("dilations") or (1,)) != {1}:
        return Objection("dilations other than 1 are not taken", then="Use a plain window, or a sum of slices instead.")
    return None


def check_exponent(context: Context) -> Objection | None:
    """LpPool and LpNormalization: L1 and L2."""
    p = context.attributes.integer("p", 2)
    return None if p in (1, 2) else Objection(f"p = {p} is not taken, only 1 and 2", then="Write it out with Pow.")


def check_training(context: Context) -> Objection | None:
    """BatchNormalization in training mode; 8.4 and earlier do not look at the attribute."""
    if context.attributes.integer("training_mode") and not before(context, "8.5"):
        return Objection("BatchNormalization is in training mode", then=_EVAL)
    return None


def check_old_dropout(context: Context) -> Objection | None:
    """Dropout of opset 6 and earlier in training mode."""
    if opset(context) <= 6 and not context.attributes.integer("is_test", 1):
        return Objection("Dropout is in training mode", then=_EVAL)
    return None


def check_constant(context: Context) -> Objection | None:
    """Constants that are sparse or text; those of 7.x know `value` alone."""
    for name in ("sparse_value", "value_string", "value_strings"):
        if name in context.attributes:
            return Objection(f"the attribute {name} is not taken", then="Store a dense tensor of numbers.")
    if before(context, "8.0") and "value" not in context.attributes:
        return Objection("a Constant without the attribute value is not taken", "8.0", "Fold constants (`--simplify`).")
    return None


def check_target_type(context: Context) -> Objection | None:
    """Cast and EyeLike to a type that TensorRT does not have."""
    name = "to" if context.node.op_type == "Cast" else "dtype"
    to = context.attributes.integer(name, 1)
    if to == _UINT8:
        return _bytes(context)
    if to in _CAST_TYPES or (to >= _NEWEST_TYPES and not seen(context)):
        return None
    since = {_BFLOAT16: "9.0", _FLOAT8: "9.0", _INT4: "10.0"}.get(to, "")
    if since and not before(context, since):
        return None
    return Objection(f"{_type_name(to)} is not taken", since, "Cast to float32, float16, int32 or bool instead.")


def _bytes(context: Context) -> Objection | None:
    if before(context, "8.5"):
        return Objection("uint8 is not taken", "8.5", "Cast to int32 instead.")
    exact = before(context, "8.6") and context.node.op_type == "Cast"
    if exact and is_one_of(context, 0, "int32", "int8", "bool"):
        return Objection(
            "a Cast to uint8 from anything but a floating type is not taken", "8.6", "Cast to float first."
        )
    return None


def check_from_bytes(context: Context) -> Objection | None:
    """8.5 casts uint8 to floating types alone."""
    to = context.attributes.integer("to", 1)
    if before(context, "8.5") or not before(context, "8.6") or not is_one_of(context, 0, "uint8") or to in (1, 10, 11):
        return None
    return Objection(f"a Cast from uint8 to {_type_name(to)} is not taken", "8.6", "Cast to float first.")


def _type_name(number: int) -> str:
    import onnx

    known = number in onnx.TensorProto.DataType.values()
    return str(onnx.TensorProto.DataType.Name(number).lower()) if known else f"type {number}"


def check_drawn_type(context: Context) -> Objection | None:
    """Random numbers in FLOAT and HALF."""
    if context.attributes.integer("dtype", 1) in (1, 10) or not seen(context):
        return None
    return Objection("random numbers of other types than float32 and float16 are not taken", then="Draw float32 ones.")


def check_scatter_reduction(context: Context) -> Objection | None:
    """ScatterND with a reduction; 10.0 to 10.7 refuse even the attribute that says `none`."""
    if before(context, "10.0") or "reduction" not in context.attributes:
        return None
    reduction = context.attributes.text("reduction", "none")
    if reduction == "none" and not seen(context):
        return None
    then = "Leave the attribute away." if reduction == "none" else "Use ScatterElements, which knows reductions."
    return Objection(f"the attribute reduction ({reduction}) is not taken", then=then)


def check_coupled_gates(context: Context) -> Objection | None:
    """LSTM with coupled input and forget gates."""
    if context.attributes.integer("input_forget"):
        return Objection("input_forget is not taken", then="Train with gates of their own.")
    return None


def check_equation(context: Context) -> Objection | None:
    """Einsum with other letters than small ones."""
    equation = context.attributes.text("equation")
    odd = sorted({letter for letter in equation if not ("a" <= letter <= "z" or letter in "->., ")})
    if odd:
        return Objection(f"{''.join(odd)!r} in the equation {equation!r} is not taken", then="Use small letters alone.")
    return None


def check_branches(context: Context) -> Objection | None:
    """If whose branches differ in their number of outputs."""
    first, second = context.attributes.graph("then_branch"), context.attributes.graph("else_branch")
    if first is not None and second is not None and len(first.output) != len(second.output):
        return Objection("its branches have different numbers of outputs", then="Give both branches the same outputs.")
    return None


def check_upsample_mode(context: Context) -> Objection | None:
    """Upsample: nearest and linear."""
    mode = context.attributes.text("mode", "nearest")
    return None if mode in ("nearest", "linear", "bilinear") else Objection(f"mode {mode} is not taken")


CHECKS: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys(("AveragePool",), (check_dilations,)),
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), (check_drawn_type,)),
    "BatchNormalization": (check_training,),
    "Cast": (check_target_type, check_from_bytes),
    "Constant": (check_constant,),
    "Dropout": (check_old_dropout,),
    "Einsum": (check_equation,),
    "EyeLike": (check_target_type,),
    "If": (check_branches,),
    "LSTM": (check_coupled_gates,),
    "LpNormalization": (check_exponent,),
    "LpPool": (check_exponent, check_dilations),
    "MaxPool": (check_indices, check_dilations),
    "ScatterND": (check_scatter_reduction,),
    "Upsample": (check_upsample_mode,),
}
