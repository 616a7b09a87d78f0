"""Nodes that a release reads as something else than ONNX means, silently: newer opsets above all."""

from __future__ import annotations

from collections.abc import Iterator

from dlaflow.graph.layer import Reading
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import REDUCTIONS, Checks, Objection, before, dims, has, rank, seen
from dlaflow.graph.lower.windows import stretches

_EXPORT_17 = "Export with opset 17."
_AXES_AS_INPUT = 18
_SUM_AXES_AS_INPUT = 13


def misread(reason: str, since: str = "", then: str = "") -> Objection:
    """The objection to something that is read in another way."""
    return Objection(reason, since, then, Reading.MISREAD)


def check_reduction(context: Context) -> Iterator[Objection]:
    """Up to 9.3 reductions other than ReduceSum do not look at the axes that opset 18 makes an input."""
    if not before(context, "10.0"):
        return
    is_sum = context.node.op_type == "ReduceSum"
    since, moved = ("8.0", _SUM_AXES_AS_INPUT) if is_sum else ("10.0", _AXES_AS_INPUT)
    axes = context.integers(1)
    if before(context, since) and context.model.opset >= moved and has(context, 1):
        own = rank(context, 0)
        if axes != () and not (axes and own and {axis % own for axis in axes} == set(range(own))):
            then = "Export with opset 12." if is_sum else _EXPORT_17
            yield misread("its axes are passed over: it reduces over all dimensions", since, then)
        return
    no_axes = not context.attributes.integers("axes") and (not has(context, 1) or axes == ())
    if context.attributes.integer("noop_with_empty_axes") and no_axes:
        yield misread("noop_with_empty_axes is passed over: it reduces over all dimensions", "10.0", "Drop the node.")


def check_split(context: Context) -> Iterator[Objection]:
    """Split into parts that are not equal, by num_outputs; by the input of opset 13 in 7.x."""
    if before(context, "8.0") and context.model.opset >= _SUM_AXES_AS_INPUT and has(context, 1):
        yield misread("its sizes are passed over: it splits evenly", "8.0", "Export with opset 12.")
    if not before(context, "10.0") or context.model.opset < _AXES_AS_INPUT or has(context, 1):
        return
    shape, outputs = dims(context, 0), len(context.node.output)
    if not shape:
        return
    length = shape[context.attributes.integer("axis", 0) % len(shape)]
    if length is not None and length % outputs:
        part = int(length) // outputs
        yield misread(f"{length} in {outputs} parts becomes {part} each, and the rest is lost", "10.0", _EXPORT_17)


def check_shape(context: Context) -> Iterator[Objection]:
    """Shape from or to a dimension in the middle."""
    if not before(context, "10.0") or context.model.opset < 15:
        return
    own = rank(context, 0)
    start, end = context.attributes.integer("start"), context.attributes.integer("end", own or 0)
    whole = start == 0 or (own is not None and start <= -own)
    if not whole or ("end" in context.attributes and (own is None or end < own)):
        yield misread("start and end are passed over: it gives the whole shape", "10.0", "Export with opset 14.")


def check_resize(context: Context) -> Iterator[Objection]:
    """Resize's attributes of opset 18."""
    if not before(context, "10.0") or context.model.opset < _AXES_AS_INPUT:
        return
    axes, own = context.attributes.integers("axes"), rank(context, 0)
    if axes and own and axes != tuple(range(own)):
        yield misread("its axes are passed over", "10.0", _EXPORT_17)
    if context.attributes.integer("antialias"):
        yield misread("antialias is passed over", "", "Export with antialias=False.")
    if context.attributes.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        yield misread("keep_aspect_ratio_policy is passed over: it stretches", "", "Give the sizes that are meant.")


def check_constant(context: Context) -> Iterator[Objection]:
    """Integers as attributes of a Constant are read through the field for floats: 0, or none."""
    if before(context, "8.0") or not before(context, "9.0"):
        return
    then = "Fold constants (`--simplify`), which stores them as a tensor."
    if context.attributes.integer("value_int"):
        yield misread(f"value_int {context.attributes.integer('value_int')} is read as 0", "9.0", then)
    if context.attributes.integers("value_ints"):
        yield misread("value_ints is read as an empty list", "9.0", then)


def check_scatter(context: Context) -> Iterator[Objection]:
    """The reductions of opset 16."""
    reduction = context.attributes.text("reduction", "none")
    if before(context, "10.0") and reduction != "none":
        since = "10.0" if context.node.op_type == "ScatterElements" else ""
        yield misread(f"reduction {reduction} is passed over: it overwrites", since, "Write the sum out.")


def check_pad(context: Context) -> Iterator[Objection]:
    """Axes that 8.4 and earlier do not look at: the amounts go to the last dimensions."""
    if before(context, "8.5") and has(context, 3):
        yield misread("its axes are passed over: the last dimensions are padded", "10.0", _EXPORT_17)


def check_idle_window(context: Context) -> Iterator[Objection]:
    """Pools rounded up whose last window holds padding alone: everybody else drops it."""
    if any(axis.idle for axis in stretches(context)):
        reason = "its last window, which begins behind the data, is not dropped: the output is one larger"
        yield misread(reason, then="Export with ceil_mode=False, or with pads that no window lies in.")


def check_grid_mode(context: Context) -> Iterator[Objection]:
    """GridSample's names of opset 20."""
    mode = context.attributes.text("mode")
    if seen(context) and mode in ("linear", "cubic"):
        yield misread(
            f"mode {mode} is not known by that name: it takes the nearest pixel", "11.4", "Export with opset 19."
        )


def check_layout(context: Context) -> Iterator[Objection]:
    """Recurrent layers with the batch first."""
    if context.attributes.integer("layout"):
        yield misread("layout 1 is passed over: the first dimension is taken for time", "", "Use layout 0.")


def check_training(context: Context) -> Iterator[Objection]:
    """Batch normalization in training mode, which 8.4 and earlier do not look at."""
    if before(context, "8.5") and context.attributes.integer("training_mode"):
        yield misread("training_mode is passed over: stored statistics are taken", "", "Export with model.eval().")


def check_softmax(context: Context) -> Iterator[Objection]:
    """7.x reads Softmax of opset 13 as the older one, over all dimensions from the axis on."""
    own, axis = rank(context, 0), context.attributes.integer("axis", -1)
    if before(context, "8.0") and context.model.opset >= 13 and own is not None and axis % own != own - 1:
        yield misread("it is taken over all dimensions from its axis on", "8.0", "Export with opset 12.")


def check_old_axes(context: Context) -> Iterator[Objection]:
    """7.x knows the axes of Squeeze and Unsqueeze as an attribute alone."""
    if before(context, "8.0") and has(context, 1):
        yield Objection("axes as an input are not taken", "8.0", "Export with opset 12.")


CHECKS: Checks = (
    (REDUCTIONS, check_reduction),
    ("GRU LSTM RNN", check_layout),
    ("LogSoftmax Softmax", check_softmax),
    ("ScatterElements ScatterND", check_scatter),
    ("Squeeze Unsqueeze", check_old_axes),
    ("AveragePool LpPool MaxPool", check_idle_window),
    ("BatchNormalization", check_training),
    ("Constant", check_constant),
    ("GridSample", check_grid_mode),
    ("Pad", check_pad),
    ("Resize", check_resize),
    ("Shape", check_shape),
    ("Split", check_split),
)
