"""Nodes that a release reads as something else than ONNX means, without a word: newer opsets above all."""

from __future__ import annotations

from dlaflow.graph.layer import Reading
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import Check, Objection, before, dims, has, opset, rank, seen, words

_EXPORT_17 = "Export with opset 17."
_REDUCTIONS = words(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
)
_AXES_AS_INPUT = 18
_SUM_AXES_AS_INPUT = 13


def misread(reason: str, since: str = "", then: str = "") -> Objection:
    """The objection to something that is read in another way."""
    return Objection(reason, since, then, Reading.MISREAD)


def check_reduction(context: Context) -> Objection | None:
    """Up to 9.3 reductions other than ReduceSum do not look at the axes that opset 18 makes an input."""
    is_sum = context.node.op_type == "ReduceSum"
    if not before(context, "8.0" if is_sum else "10.0"):
        return _unreduced(context) if before(context, "10.0") else None
    if opset(context) < (_SUM_AXES_AS_INPUT if is_sum else _AXES_AS_INPUT) or not has(context, 1):
        return _unreduced(context)
    axes, own = context.integers(1), rank(context, 0)
    if axes == () or (axes and own and {axis % own for axis in axes} == set(range(own))):
        return None
    then = "Export with opset 12." if is_sum else _EXPORT_17
    return misread("its axes are passed over: it reduces over all dimensions", "8.0" if is_sum else "10.0", then)


def _unreduced(context: Context) -> Objection | None:
    """noop_with_empty_axes without axes."""
    if not context.attributes.integer("noop_with_empty_axes") or context.attributes.integers("axes"):
        return None
    if has(context, 1) and context.integers(1) != ():
        return None
    return misread("noop_with_empty_axes is passed over: it reduces over all dimensions", "10.0", "Drop the node.")


def check_split(context: Context) -> Objection | None:
    """Split into parts that are not equal, by num_outputs; by the input of opset 13 in 7.x."""
    if before(context, "8.0") and opset(context) >= _SUM_AXES_AS_INPUT and has(context, 1):
        return misread("its sizes are passed over: it splits evenly", "8.0", "Export with opset 12.")
    if not before(context, "10.0") or opset(context) < _AXES_AS_INPUT or has(context, 1):
        return None
    shape, outputs = dims(context, 0), len(context.node.output)
    if not shape:
        return None
    length = shape[context.attributes.integer("axis", 0) % len(shape)]
    if length is None or length % outputs == 0:
        return None
    part = int(length) // outputs
    return misread(f"{length} in {outputs} parts becomes {part} each, and the rest is lost", "10.0", _EXPORT_17)


def check_shape(context: Context) -> Objection | None:
    """Shape from or to a dimension in the middle."""
    if not before(context, "10.0") or opset(context) < 15:
        return None
    own = rank(context, 0)
    start, end = context.attributes.integer("start"), context.attributes.integer("end", own or 0)
    whole = start == 0 or (own is not None and start <= -own)
    if whole and ("end" not in context.attributes or (own is not None and end >= own)):
        return None
    return misread("start and end are passed over: it gives the whole shape", "10.0", "Export with opset 14.")


def check_resize(context: Context) -> Objection | None:
    """Resize's attributes of opset 18."""
    if not before(context, "10.0") or opset(context) < _AXES_AS_INPUT:
        return None
    axes, own = context.attributes.integers("axes"), rank(context, 0)
    if axes and own and axes != tuple(range(own)):
        return misread("its axes are passed over", "10.0", _EXPORT_17)
    if context.attributes.integer("antialias"):
        return misread("antialias is passed over", "", "Export with antialias=False.")
    if context.attributes.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        return misread("keep_aspect_ratio_policy is passed over: it stretches", "", "Give the sizes that are meant.")
    return None


def check_constant(context: Context) -> Objection | None:
    """Integers as attributes of a Constant are read through the field for floats: 0, or none."""
    if before(context, "8.0") or not before(context, "9.0"):
        return None
    then = "Fold constants (`--simplify`), which stores them as a tensor."
    if context.attributes.integer("value_int"):
        return misread(f"value_int {context.attributes.integer('value_int')} is read as 0", "9.0", then)
    if context.attributes.integers("value_ints"):
        return misread("value_ints is read as an empty list", "9.0", then)
    return None


def check_scatter(context: Context) -> Objection | None:
    """The reductions of opset 16."""
    reduction = context.attributes.text("reduction", "none")
    if before(context, "10.0") and reduction != "none":
        since = "10.0" if context.node.op_type == "ScatterElements" else ""
        return misread(f"reduction {reduction} is passed over: it overwrites", since, "Write the sum out.")
    return None


def check_pad(context: Context) -> Objection | None:
    """Axes that 8.4 and earlier do not look at: the amounts go to the last dimensions."""
    if before(context, "8.5") and has(context, 3):
        return misread("its axes are passed over: the last dimensions are padded", "10.0", _EXPORT_17)
    return None


def check_grid_mode(context: Context) -> Objection | None:
    """GridSample's names of opset 20."""
    mode = context.attributes.text("mode")
    if seen(context) and mode in ("linear", "cubic"):
        return misread(
            f"mode {mode} is not known by that name: it takes the nearest pixel", "11.4", "Export with opset 19."
        )
    return None


def check_layout(context: Context) -> Objection | None:
    """Recurrent layers with the batch first."""
    if context.attributes.integer("layout") and seen(context):
        return misread("layout 1 is passed over: the first dimension is taken for time", "", "Use layout 0.")
    return None


def check_training(context: Context) -> Objection | None:
    """Batch normalization in training mode, which 8.4 and earlier do not look at."""
    if before(context, "8.5") and context.attributes.integer("training_mode"):
        return misread("training_mode is passed over: stored statistics are taken", "", "Export with model.eval().")
    return None


def check_softmax(context: Context) -> Objection | None:
    """7.x reads Softmax of opset 13 as the older one, over all dimensions from the axis on."""
    own, axis = rank(context, 0), context.attributes.integer("axis", -1)
    if not before(context, "8.0") or opset(context) < 13 or own is None or axis % own == own - 1:
        return None
    return misread("it is taken over all dimensions from its axis on", "8.0", "Export with opset 12.")


def check_old_axes(context: Context) -> Objection | None:
    """7.x knows the axes of Squeeze and Unsqueeze as an attribute alone."""
    if before(context, "8.0") and has(context, 1):
        return Objection("axes as an input are not taken", "8.0", "Export with opset 12.")
    return None


CHECKS: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys(_REDUCTIONS, (check_reduction,)),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (check_layout,)),
    **dict.fromkeys(("LogSoftmax", "Softmax"), (check_softmax,)),
    **dict.fromkeys(("ScatterElements", "ScatterND"), (check_scatter,)),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), (check_old_axes,)),
    "BatchNormalization": (check_training,),
    "Constant": (check_constant,),
    "GridSample": (check_grid_mode,),
    "Pad": (check_pad,),
    "Resize": (check_resize,),
    "Shape": (check_shape,),
    "Split": (check_split,),
}
