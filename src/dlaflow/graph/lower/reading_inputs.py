"""What importers take of a node's inputs and attributes: types of data, inputs that must be weights, and attributes.

Boolean, integer and 8-bit tensors are refused here and there. QuantizeLinear and DequantizeLinear must be symmetric
besides, with positive scales, one for each channel.
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
    type_advice,
    type_problem,
)
from dlaflow.graph.tensor_type import elem_name

_CAST = "Cast it to a floating type before."
_SYMMETRIC = "Quantize symmetrically: INT8 with zero points of 0."
_FLOAT_BIAS = "Dequantize the bias into a floating-point initializer, which is exact (`dlaflow cache from-qdq` does)."
_WIDE_TYPES = frozenset({"int32", "int16", "uint16"})
"""What onnxruntime quantizes biases, or activations beside 8-bit weights, to: TensorRT's layers know neither."""
_FLOATS = frozenset({"float32", "float16", "bfloat16"})
_QUANTIZED = frozenset({"int8", "uint8", "int4", "float8e4m3fn", "float4e2m1"})

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
    # 8-bit unsigned tensors, which only an input or an output may be, reach nothing but a Cast (NvInfer.h, kUINT8).
    RefusedTypes(
        "Add Sub Mul Div Max Min Sum Mean Greater Less GreaterOrEqual LessOrEqual", "uint8", (0, 1), "", "8.5"
    ),
    RefusedTypes("MaxPool GlobalMaxPool Transpose Reshape Flatten Squeeze Unsqueeze", "uint8", start="8.5"),
    RefusedTypes("Concat Expand EyeLike Pad Slice Split Tile Trilu", "uint8", start="8.5"),
    RefusedTypes("ReverseSequence Scatter ScatterElements ScatterND OneHot", "uint8", start="8.5"),
    RefusedTypes("ArgMax ArgMin TopK", "int32", since="8.6"),
    RefusedTypes("ArgMax ArgMin TopK", "uint8", start="8.5"),
    RefusedTypes(_ROOTS, "int32 int64 bool uint8"),
    RefusedTypes(REDUCTIONS, "bool uint8", start="10.0"),
    RefusedTypes("Celu", "float16 bfloat16", start="10.8"),
    RefusedTypes("HardSwish", "bool", end="8.5"),
    RefusedTypes("Shrink", "bool uint8"),
    RefusedTypes("Shrink", "int8", end="8.5"),
    RefusedTypes("DepthToSpace SpaceToDepth GridSample", "bool uint8"),
    RefusedTypes("Resize Upsample", "int32", since="8.5"),
    RefusedTypes("Resize Upsample", "bool"),
    RefusedTypes("Resize Upsample", "uint8", start="8.5"),
    RefusedTypes("Resize Upsample", "int32 int64", start="10.8"),
)


def _types_check(row: RefusedTypes) -> Check:
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
    quantizes = context.node.op_type == "QuantizeLinear"
    typed = unsigned and quantizes and not is_weights(context, 2)
    if not before(context, "8.5") and seen(context) and (is_one_of(context, 0, "uint8") or typed):
        yield Objection("uint8 is not taken", then=_SYMMETRIC)
    types = (context.operand(index).tensor.dtype for index in (0, 2) if has(context, index))
    kind = next((dtype for dtype in types if dtype in _WIDE_TYPES), "")
    if kind and not seen(context):
        then = _FLOAT_BIAS if kind == "int32" else _SYMMETRIC
        yield Objection(f"a pair of {kind} is not taken, INT8 alone", then=then)
    asked = elem_name(context.attributes.integer("output_dtype"))
    if asked and not seen(context) and asked not in (_QUANTIZED if quantizes else _FLOATS):
        yield Objection(f"output_dtype {asked} is not taken", then=_SYMMETRIC if quantizes else _CAST)
    values, zeros = (context.value(index) if is_weights(context, index) else None for index in (1, 2))
    if values is not None and (values.size == 0 or not bool((values > 0).all())):
        yield Objection("a scale that is not positive", then="Calibrate again; dead channels get a scale of 0.")
    asymmetric = unsigned and not before(context, "10.11")  # once its flag is set, which is for the DLA
    if zeros is not None and bool(zeros.astype("float32").any()) and not asymmetric:
        yield Objection("a zero point other than 0 is not taken", then=_SYMMETRIC)
    x, scale, zero = dims(context, 0), dims(context, 1), dims(context, 2)
    if scale is None or None in scale:
        return
    scales = prod(size or 0 for size in scale)
    if zero is not None and None not in zero and (points := prod(size or 0 for size in zero)) != scales:
        yield Objection(f"{scales} scales and {points} zero points", then="Give one zero point a scale.")
    axis = context.attributes.integer("axis", 0 if context.model.opset < 13 else 1)
    if x is None or scales == 1 or len(scale) > 1 or not -len(x) <= axis < len(x) or x[axis] in (None, scales):
        return
    yield Objection(f"{scales} scales for {x[axis]} channels", then="Set axis to the quantized dimension.")


_FOLD = "Store it as an initializer: simplify the model, or drop the Identity or Cast before it."
_EVAL = "Export with model.eval()."
_AXES = "its list of axes"
_UINT8 = 2


class WantedWeights(NamedTuple):
    """An input that must be weights from release `start` and opset `opset` on, and before release `end`.

    `since` is the first release that takes it computed, "" when none is known; it stands for `end` too.
    """

    operators: str
    at: int
    what: str
    since: str = ""
    start: str = "0"
    end: str = "99"
    opset: int = 0


WANTED_WEIGHTS = (
    WantedWeights("Conv ConvTranspose", 2, "its bias", "8.5"),
    WantedWeights("InstanceNormalization", 1, "its scale", "10.0"),
    WantedWeights("InstanceNormalization", 2, "its bias", "10.0"),
    WantedWeights("CumSum", 1, "its axis", "11.4", end="10.8"),
    WantedWeights("Squeeze Unsqueeze", 1, _AXES, opset=13),
    WantedWeights("Slice", 3, _AXES, "10.3"),
    # Before 10.0 only ReduceSum looks at the input at all.
    WantedWeights("ReduceSum", 1, _AXES, start="8.0", opset=13),
    WantedWeights(REDUCTIONS.replace("ReduceSum ", ""), 1, _AXES, start="10.0", opset=13),
    WantedWeights("TopK", 1, "K", "8.6", opset=10),
    WantedWeights("NonMaxSuppression", 2, "max_output_boxes_per_class", "8.5"),
    WantedWeights("NonMaxSuppression", 3, "iou_threshold", "8.5"),
    WantedWeights("NonMaxSuppression", 4, "score_threshold", "8.5"),
    WantedWeights("Pad", 1, "the padding", "8.2"),
    WantedWeights("Pad", 2, "its value", "8.2"),
    WantedWeights("Pad", 3, _AXES, "10.4", start="10.0"),
)


def _weights_check(row: WantedWeights) -> Check:
    start, end = numbers(row.start), min(numbers(row.since or "99"), numbers(row.end))

    def check(context: Context) -> Iterator[Objection]:
        if start <= context.parser.version < end and context.model.opset >= row.opset:
            yield from _wants_weights(context, row.at, row.what, row.since)

    return check


def _wants_weights(context: Context, index: int, what: str, since: str = "") -> Iterator[Objection]:
    """The objection to an input that a node computes; the newest parser sees through what folds to a constant."""
    if is_computed(context, index) and (seen(context) or context.value(index) is None):
        yield Objection(f"{what} is computed, an initializer is wanted", since, _FOLD)


def check_dropout(context: Context) -> Iterator[Objection]:
    """Dropout in training mode: an attribute up to opset 6, an input from opset 12 on."""
    if context.model.opset <= 6 and not context.attributes.integer("is_test", 1):
        yield Objection("Dropout is in training mode", then=_EVAL)
    if context.model.opset < 12 or len(context.node.input) != 3:
        return
    if not is_weights(context, 2):
        yield Objection("its training mode is computed, an initializer is wanted", then=_EVAL)
    elif (value := context.value(2)) is not None and value.size and bool(value.reshape(-1)[0]):
        yield Objection("Dropout is in training mode", then=_EVAL)


def check_resize_scales(context: Context) -> Iterator[Objection]:
    """Computed scales: from 8.2 on, never along chosen axes."""
    index = 2 if context.model.opset >= 11 else 1
    if index == 2 and has(context, 3):
        return
    axes = context.attributes.integers("axes")
    if context.model.opset < 9 and context.node.op_type == "Upsample" and "scales" not in context.attributes:
        yield Objection("it lacks the attribute scales", then="Export with opset 11 or later.")
    if index < len(context.node.input) and context.node.input[index] in context.shapes.inputs:
        yield Objection("its scales are an input of the network", then="Give sizes, or store the scales as weights.")
    if before(context, "8.2"):
        yield from _wants_weights(context, index, "its scales", "8.2")
    elif not before(context, "10.0") and axes and axes != tuple(range(len(context.shape(0) or ()))):
        yield from _wants_weights(context, index, "its scales along axes")


def check_drawn(context: Context) -> Iterator[Objection]:
    """Random numbers in FLOAT and HALF, in the shape of anything but an initializer."""
    if context.node.op_type.endswith("Like") and is_weights(context, 0):
        reason = "the tensor that gives the shape is an initializer"
        yield Objection(reason, then="Store the random numbers as weights.")
    if context.attributes.integer("dtype", 1) not in (1, 10):
        reason = "random numbers of other types than float32 and float16 are not taken"
        yield Objection(reason, then="Draw float32 ones.")


def check_pool(context: Context) -> Iterator[Objection]:
    """MaxPool with its second output; pools with holes."""
    if context.node.op_type == "MaxPool" and len(context.node.output) > 1:
        then = "Export without return_indices; upsample by Resize or ConvTranspose."
        yield Objection("the indices output is not taken", then=then)
    if context.model.opset >= 10 and set(context.attributes.integers("dilations") or (1,)) != {1}:
        yield Objection("dilations other than 1 are not taken", then="Use a plain window, or a sum of slices instead.")


def check_exponent(context: Context) -> Iterator[Objection]:
    """LpPool and LpNormalization: L1 and L2."""
    p = context.attributes.integer("p", 2)
    if p not in (1, 2):
        yield Objection(f"p = {p} is not taken, only 1 and 2", then="Write it out with Pow.")


def check_training(context: Context) -> Iterator[Objection]:
    """BatchNormalization in training mode; 8.4 and earlier do not look at the attribute."""
    if context.attributes.integer("training_mode") and not before(context, "8.5"):
        yield Objection("BatchNormalization is in training mode", then=_EVAL)


def check_constant(context: Context) -> Iterator[Objection]:
    """Constants that are sparse, text or of a type that weights may not have; those of 7.x know `value` alone."""
    for dtype in (elem_name(each.t.data_type) for each in context.node.attribute if each.name == "value"):
        reason, since = type_problem(context, dtype, weights=True)
        if reason:
            yield Objection(reason, since, type_advice(dtype))
    for name in ("sparse_value", "value_string", "value_strings"):
        if name in context.attributes:
            yield Objection(f"the attribute {name} is not taken", then="Store a dense tensor of numbers.")
    if before(context, "8.0") and "value" not in context.attributes:
        reason = "a Constant without the attribute value is not taken"
        yield Objection(reason, "8.0", "Fold constants (`--simplify`).")


def check_target_type(context: Context) -> Iterator[Objection]:
    """Cast and EyeLike to a type that TensorRT does not have; Cast to and from uint8, which 8.5 ties to floats."""
    casts = context.node.op_type == "Cast"
    to = context.attributes.integer("to" if casts else "dtype", 1)
    only_8_5 = casts and before(context, "8.6") and not before(context, "8.5")
    if to == _UINT8 and before(context, "8.5"):
        yield Objection("uint8 is not taken", "8.5", "Cast to int32 instead.")
    elif to == _UINT8 and only_8_5 and is_one_of(context, 0, "int32", "int8", "bool"):
        reason = "a Cast to uint8 from anything but a floating type is not taken"
        yield Objection(reason, "8.6", "Cast to float first.")
    elif to != _UINT8 and (name := elem_name(to) or f"type {to}") != "float64":
        reason, since = type_problem(context, name)
        if reason:
            yield Objection(reason, since, "Cast to float32, float16, int32 or bool instead.")
    if only_8_5 and is_one_of(context, 0, "uint8") and to not in (1, 10, 11):
        yield Objection(f"a Cast from uint8 to {elem_name(to)} is not taken", "8.6", "Cast to float first.")


def check_scatter_reduction(context: Context) -> Iterator[Objection]:
    """ScatterND with a reduction; 10.0 to 10.7 refuse even the attribute that says `none`."""
    if before(context, "10.0") or "reduction" not in context.attributes:
        return
    reduction = context.attributes.text("reduction", "none")
    if reduction != "none" or seen(context):
        then = "Leave the attribute away." if reduction == "none" else "Use ScatterElements, which knows reductions."
        yield Objection(f"the attribute reduction ({reduction}) is not taken", then=then)


def check_coupled_gates(context: Context) -> Iterator[Objection]:
    """LSTM with coupled input and forget gates."""
    if context.attributes.integer("input_forget"):
        yield Objection("input_forget is not taken", then="Train with gates of their own.")


def check_attention(context: Context) -> Iterator[Objection]:
    """Attention: one output, a mask or causality, keys like values, no softcap, no precision of its Softmax's own."""
    keys, values, outputs = dims(context, 1), dims(context, 2), [name for name in context.node.output if name]
    refused = {
        "softcap": context.attributes.number("softcap", 0.0) != 0,
        "softmax_precision": "softmax_precision" in context.attributes,
        "more than one output": len(outputs) > 1,
        "is_causal beside a mask": bool(context.attributes.integer("is_causal")) and has(context, 3),
        "keys of another shape than its values": None not in (keys, values) and keys != values,
    }
    for what in (name for name, found in refused.items() if found):
        yield Objection(f"{what} is not taken", then="Export with opset 22, which writes it as MatMul and Softmax.")


def check_equation(context: Context) -> Iterator[Objection]:
    """Einsum with other letters than small ones."""
    equation = context.attributes.text("equation")
    odd = sorted({letter for letter in equation if not ("a" <= letter <= "z" or letter in "->., ")})
    if odd:
        yield Objection(f"{''.join(odd)!r} in the equation {equation!r} is not taken", then="Use small letters alone.")


def check_branches(context: Context) -> Iterator[Objection]:
    """If whose branches differ in their number of outputs."""
    first, second = context.attributes.graph("then_branch"), context.attributes.graph("else_branch")
    if first is not None and second is not None and len(first.output) != len(second.output):
        yield Objection("its branches have different numbers of outputs", then="Give both branches the same outputs.")


def check_upsample_mode(context: Context) -> Iterator[Objection]:
    """Upsample: nearest and linear."""
    mode = context.attributes.text("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear"):
        yield Objection(f"mode {mode} is not taken")


CHECKS: Checks = (
    *((row.operators, _types_check(row)) for row in REFUSED_TYPES),
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
    *((row.operators, _weights_check(row)) for row in WANTED_WEIGHTS),
    ("Dropout", check_dropout),
    ("Resize Upsample", check_resize_scales),
    ("RandomNormal RandomNormalLike RandomUniform RandomUniformLike", check_drawn),
    ("LpNormalization LpPool", check_exponent),
    ("AveragePool LpPool MaxPool", check_pool),
    ("BatchNormalization", check_training),
    ("Cast EyeLike", check_target_type),
    ("Attention", check_attention),
    ("Constant", check_constant),
    ("Einsum", check_equation),
    ("If", check_branches),
    ("LSTM", check_coupled_gates),
    ("ScatterND", check_scatter_reduction),
    ("Upsample", check_upsample_mode),
)
