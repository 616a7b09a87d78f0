"""Inputs that the parser wants as weights, an initializer or a Constant, and attributes that the importers refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import (
    REDUCTIONS,
    Check,
    Checks,
    Objection,
    before,
    has,
    is_computed,
    is_one_of,
    is_weights,
    numbers,
    opset,
    seen,
)

_FOLD = "Store it as an initializer: simplify the model, or drop the Identity or Cast before it."
_EVAL = "Export with model.eval()."
_AXES = "its list of axes"
_CAST_TYPES = {1, 3, 6, 7, 9, 10, 11}
"""ONNX's numbers of FLOAT, INT8, INT32, INT64, BOOL, FLOAT16 and DOUBLE."""
_UINT8 = 2
_LATE_TYPES = {16: "9.0", 17: "9.0", 22: "10.0"}
"""BFLOAT16, FLOAT8E4M3FN and INT4, with the first release that has them."""
_NEWEST_TYPES = 16


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


def _check_of(row: WantedWeights) -> Check:
    start, end = numbers(row.start), min(numbers(row.since or "99"), numbers(row.end))

    def check(context: Context) -> Iterator[Objection]:
        if start <= context.parser.version < end and opset(context) >= row.opset:
            yield from _wants_weights(context, row.at, row.what, row.since)

    return check


def _wants_weights(context: Context, index: int, what: str, since: str = "") -> Iterator[Objection]:
    """The objection to an input that a node computes; the newest parser sees through what folds to a constant."""
    if is_computed(context, index) and (seen(context) or context.value(index) is None):
        yield Objection(f"{what} is computed, an initializer is wanted", since, _FOLD)


def check_dropout(context: Context) -> Iterator[Objection]:
    """Dropout in training mode: an attribute up to opset 6, an input from opset 12 on."""
    if opset(context) <= 6 and not context.attributes.integer("is_test", 1):
        yield Objection("Dropout is in training mode", then=_EVAL)
    if opset(context) < 12 or len(context.node.input) != 3:
        return
    if not is_weights(context, 2):
        yield Objection("its training mode is computed, an initializer is wanted", then=_EVAL)
    elif (value := context.value(2)) is not None and value.size and bool(value.reshape(-1)[0]):
        yield Objection("Dropout is in training mode", then=_EVAL)


def check_resize_scales(context: Context) -> Iterator[Objection]:
    """Computed scales: from 8.2 on, never along chosen axes."""
    index = 2 if opset(context) >= 11 else 1
    if index == 2 and has(context, 3):
        return
    axes = context.attributes.integers("axes")
    if before(context, "8.2"):
        yield from _wants_weights(context, index, "its scales", "8.2")
    elif not before(context, "10.0") and seen(context) and axes and axes != tuple(range(len(context.shape(0) or ()))):
        yield from _wants_weights(context, index, "its scales along axes")


def check_drawn(context: Context) -> Iterator[Objection]:
    """Random numbers in FLOAT and HALF, in the shape of anything but an initializer."""
    if context.node.op_type.endswith("Like") and is_weights(context, 0):
        reason = "the tensor that gives the shape is an initializer"
        yield Objection(reason, then="Store the random numbers as weights.")
    if context.attributes.integer("dtype", 1) not in (1, 10) and seen(context):
        reason = "random numbers of other types than float32 and float16 are not taken"
        yield Objection(reason, then="Draw float32 ones.")


def check_pool(context: Context) -> Iterator[Objection]:
    """MaxPool with its second output; pools with holes."""
    if context.node.op_type == "MaxPool" and len(context.node.output) > 1:
        then = "Export without return_indices; upsample by Resize or ConvTranspose."
        yield Objection("the indices output is not taken", then=then)
    if opset(context) >= 10 and set(context.attributes.integers("dilations") or (1,)) != {1}:
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
    """Constants that are sparse or text; those of 7.x know `value` alone."""
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
    elif to not in {*_CAST_TYPES, _UINT8} and (to < _NEWEST_TYPES or seen(context)):
        since = _LATE_TYPES.get(to, "")
        if not since or before(context, since):
            yield Objection(f"{_type_name(to)} is not taken", since, "Cast to float32, float16, int32 or bool instead.")
    if only_8_5 and is_one_of(context, 0, "uint8") and to not in (1, 10, 11):
        yield Objection(f"a Cast from uint8 to {_type_name(to)} is not taken", "8.6", "Cast to float first.")


def _type_name(number: int) -> str:
    import onnx

    known = number in onnx.TensorProto.DataType.values()
    return str(onnx.TensorProto.DataType.Name(number).lower()) if known else f"type {number}"


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
    *((row.operators, _check_of(row)) for row in WANTED_WEIGHTS),
    ("Dropout", check_dropout),
    ("Resize", check_resize_scales),
    ("RandomNormal RandomNormalLike RandomUniform RandomUniformLike", check_drawn),
    ("LpNormalization LpPool", check_exponent),
    ("AveragePool LpPool MaxPool", check_pool),
    ("BatchNormalization", check_training),
    ("Cast EyeLike", check_target_type),
    ("Constant", check_constant),
    ("Einsum", check_equation),
    ("If", check_branches),
    ("LSTM", check_coupled_gates),
    ("ScatterND", check_scatter_reduction),
    ("Upsample", check_upsample_mode),
)
