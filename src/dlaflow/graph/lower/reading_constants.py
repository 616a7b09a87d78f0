"""Inputs that the parser wants as weights: an initializer or a Constant, not the result of another node."""

from __future__ import annotations

from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import Check, Objection, before, has, is_computed, is_weights, opset, seen

_FOLD = "Store it as an initializer: simplify the model, or drop the Identity or Cast before it."


def wants_weights(context: Context, index: int, what: str, since: str = "") -> Objection | None:
    """The objection to an input that a node computes; the newest parser sees through what folds to a constant."""
    if not is_computed(context, index) or (not seen(context) and context.value(index) is not None):
        return None
    return Objection(f"{what} is computed, an initializer is wanted", since, _FOLD)


def check_conv_bias(context: Context) -> Objection | None:
    """Conv and ConvTranspose take a bias behind an Identity from 8.5 on."""
    return wants_weights(context, 2, "its bias", "8.5") if before(context, "8.5") else None


def check_instance_scale(context: Context) -> Objection | None:
    """InstanceNormalization is a plugin with fixed scales up to 8.6."""
    if not before(context, "10.0"):
        return None
    return wants_weights(context, 1, "its scale", "10.0") or wants_weights(context, 2, "its bias", "10.0")


def check_running_sum(context: Context) -> Objection | None:
    """CumSum along a computed axis."""
    return wants_weights(context, 1, "its axis", "11.4") if seen(context) else None


def check_squeezed_axes(context: Context) -> Objection | None:
    """Squeeze along computed axes."""
    return wants_weights(context, 1, "its list of axes") if opset(context) >= 13 else None


def check_slice_axes(context: Context) -> Objection | None:
    """Slice along computed axes: from 10.3 on."""
    return wants_weights(context, 3, "its list of axes", "10.3") if before(context, "10.3") else None


def check_reduced_axes(context: Context) -> Objection | None:
    """Reductions along computed axes; before 10.0 only ReduceSum looks at the input at all."""
    if context.attributes.integers("axes") is not None or opset(context) < 13:
        return None
    if before(context, "10.0") and context.node.op_type != "ReduceSum":
        return None
    return None if before(context, "8.0") else wants_weights(context, 1, "its list of axes")


def check_ranked_count(context: Context) -> Objection | None:
    """TopK of a computed number: from 8.6 on."""
    return wants_weights(context, 1, "K", "8.6") if before(context, "8.6") and opset(context) >= 10 else None


def check_dropout(context: Context) -> Objection | None:
    """Dropout in training mode."""
    if opset(context) >= 12 and len(context.node.input) == 3:
        if not has(context, 2) or is_computed(context, 2):
            return Objection(
                "its training mode is computed, an initializer is wanted", then="Export with model.eval()."
            )
        value = context.value(2)
        if value is not None and value.size and bool(value.reshape(-1)[0]):
            return Objection("Dropout is in training mode", then="Export with model.eval().")
    return None


def check_suppression(context: Context) -> Objection | None:
    """NonMaxSuppression is a plugin with fixed bounds up to 8.4."""
    if not before(context, "8.5"):
        return None
    names = ("max_output_boxes_per_class", "iou_threshold", "score_threshold")
    found = (wants_weights(context, index, name, "8.5") for index, name in enumerate(names, start=2))
    return next((objection for objection in found if objection), None)


def check_resize_scales(context: Context) -> Objection | None:
    """Computed scales: from 8.2 on, never along chosen axes."""
    index = 2 if opset(context) >= 11 else 1
    if index == 2 and has(context, 3):
        return None
    if before(context, "8.2"):
        return wants_weights(context, index, "its scales", "8.2")
    axes = context.attributes.integers("axes")
    if not before(context, "10.0") and seen(context) and axes and axes != tuple(range(len(context.shape(0) or ()))):
        return wants_weights(context, index, "its scales along axes")
    return None


def check_padding(context: Context) -> Objection | None:
    """Pad: computed amounts from 8.2 on, computed axes from 10.4 on."""
    if before(context, "8.2"):
        return wants_weights(context, 1, "the padding", "8.2") or wants_weights(context, 2, "its value", "8.2")
    if before(context, "10.4") and not before(context, "10.0"):
        return wants_weights(context, 3, "its list of axes", "10.4")
    return None


def check_drawn(context: Context) -> Objection | None:
    """Random numbers in the shape of an initializer."""
    if is_weights(context, 0):
        return Objection(
            "the tensor that gives the shape is an initializer", then="Store the random numbers as weights."
        )
    return None


CHECKS: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys(("Conv", "ConvTranspose"), (check_conv_bias,)),
    **dict.fromkeys(("RandomNormalLike", "RandomUniformLike"), (check_drawn,)),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), (check_squeezed_axes,)),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"), (check_reduced_axes,)
    ),
    **dict.fromkeys(("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"), (check_reduced_axes,)),
    "CumSum": (check_running_sum,),
    "Dropout": (check_dropout,),
    "InstanceNormalization": (check_instance_scale,),
    "NonMaxSuppression": (check_suppression,),
    "Pad": (check_padding,),
    "Resize": (check_resize_scales,),
    "Slice": (check_slice_axes,),
    "TopK": (check_ranked_count,),
}
