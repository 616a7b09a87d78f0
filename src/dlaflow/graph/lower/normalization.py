"""Normalisations: SCALE for batches, NORMALIZATION (plugins up to 8.5) for instances, groups and layers."""

from __future__ import annotations

from dlaflow.graph.layer import Cast, ElementWise, Lrn, Reduce, Tensor, Unary
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context, Operand, Outputs
from dlaflow.graph.lower.helpers import combine, squeeze, to_rank, unsqueeze
from dlaflow.graph.lower.tensors import import_unknown


def import_batch_normalization(context: Context) -> Outputs:
    """BatchNormalization with constant statistics: SCALE per channel; otherwise the arithmetic of the parser."""
    operands = [context.operand(index) for index in range(1, 5)]
    data = context.tensor(0)
    if not all(operand.weights for operand in operands):
        return _by_arithmetic(context, data, operands)
    if context.parser.names_conversions:
        for operand in operands:
            if operand.tensor.dtype == "float16":
                context.reserve()
        for _ in ("scale", "bias"):
            context.reserve()
    lifted = unsqueeze(context, data, list(range(data.rank, 4))) if 1 <= data.rank < 4 else data
    result = context.emit("SCALE", [lifted], lifted.shape)
    context.holds(2 * ((data.shape or (0, 0))[1] or 0) if data.rank > 1 else 0)
    if lifted is not data:
        result = sizes.reshape(context, result, sizes.shape_of(data))
    return result


def _by_arithmetic(context: Context, data: Tensor, operands: list[Operand]) -> Tensor:
    """scale * (x - mean) / sqrt(variance + epsilon) + bias; only the last layer carries the node's name."""
    tensors = [context.as_tensor(operand) for operand in operands]
    scale, bias, mean, variance = (_channel(context, tensor, data) for tensor in tensors)
    epsilon = context.constant((1,) * data.rank)
    if context.parser.names_every_layer:
        scale, bias, mean, variance, epsilon = (
            context.helper("CAST", [tensor], tensor.shape, Cast("float32"), "ONNXTRT_castHelper")
            for tensor in (scale, bias, mean, variance, epsilon)
        )
    shifted = context.emit("ELEMENTWISE", [variance, epsilon], variance.shape, ElementWise("SUM", 1), name="")
    deviation = context.emit("UNARY", [shifted], variance.shape, Unary("SQRT"), name="")
    centred = combine(context, "SUB", data, mean, "")
    divided = combine(context, "DIV", centred, deviation, "")
    scaled = combine(context, "PROD", scale, divided, "")
    attributes = ElementWise("SUM", 1 if bias.constant else None)
    return context.emit("ELEMENTWISE", [scaled, bias], data.shape, attributes)


def _channel(context: Context, tensor: Tensor, data: Tensor) -> Tensor:
    return unsqueeze(context, tensor, [0, *range(2, data.rank)]) if data.rank > 1 else tensor


def import_instance_normalization(context: Context) -> Outputs:
    """InstanceNormalization: NORMALIZATION from 10.0, PLUGIN_V2 on four dimensions before."""
    if context.parser.native_instance_norm:
        return _normalize(context)
    data = context.tensor(0)
    line = data.shape is not None and len(data.shape) == 3
    lifted = unsqueeze(context, data, [3]) if line else data
    result = context.emit("PLUGIN_V2", [lifted], lifted.shape)
    context.holds(2 * ((lifted.shape or (0, 0))[1] or 0))
    return squeeze(context, result, [3]) if line else result


def import_group_normalization(context: Context) -> Outputs:
    """GroupNormalization: NORMALIZATION from 8.6; earlier parsers do not know the operator."""
    return _normalize(context) if context.parser.normalization_layers else import_unknown(context)


def _normalize(context: Context) -> Outputs:
    data, scale, bias = context.tensor(0), context.tensor(1), context.tensor(2)
    spatial = [0, *range(2, len(data.shape or (0, 0)))]
    scale, bias = unsqueeze(context, scale, spatial), unsqueeze(context, bias, spatial)
    return context.emit("NORMALIZATION", [data, scale, bias], data.shape)


def import_layer_normalization(context: Context) -> Outputs:
    """LayerNormalization: NORMALIZATION from 8.6; earlier parsers do not know the operator."""
    if not context.parser.normalization_layers:
        return import_unknown(context)
    data = context.tensor(0)
    defaults = [context.constant((), data.dtype) for _ in range(2)] if context.parser.default_norm_constants else []
    scale = context.tensor(1)
    if context.parser.names_every_layer:
        scale = to_rank(context, scale, data.rank)
    if not context.is_absent(2):
        bias = context.tensor(2)
    elif context.parser.names_every_layer:
        bias = context.constant((1,) * data.rank)
    else:
        bias = defaults[1] if defaults else context.constant((), data.dtype)
    scale, bias = to_rank(context, scale, data.rank), to_rank(context, bias, data.rank)
    name = None if context.parser.names_layer_normalization else ""
    return context.emit("NORMALIZATION", [data, scale, bias], data.shape, name=name)


def import_mean_variance_normalization(context: Context) -> Outputs:
    """MeanVarianceNormalization: mean, difference, square, mean, root, quotient."""
    data = context.tensor(0)
    rank = max(data.rank, 1)
    axes = tuple(axis % rank for axis in context.attributes.integers("axes") or (0, 2, 3))
    small = tuple(1 if axis in axes else size for axis, size in enumerate(data.shape or ()))
    mean = context.emit("REDUCE", [data], small, Reduce("AVG", axes, True))
    centred = context.emit("ELEMENTWISE", [data, mean], data.shape, ElementWise("SUB"))
    square = context.emit("ELEMENTWISE", [centred, centred], data.shape, ElementWise("PROD"))
    variance = context.emit("REDUCE", [square], small, Reduce("AVG", axes, True))
    deviation = context.emit("UNARY", [variance], small, Unary("SQRT"))
    epsilon = context.constant((1,) * len(small))
    safe = context.emit("ELEMENTWISE", [deviation, epsilon], small, ElementWise("SUM", 1))
    return context.emit("ELEMENTWISE", [centred, safe], data.shape, ElementWise("DIV"))


def import_lp_normalization(context: Context) -> Outputs:
    """LpNormalization: the norm along an axis, guarded against zero, and a quotient."""
    data = context.tensor(0)
    axis = context.attributes.integer("axis", -1) % max(data.rank, 1)
    small = tuple(1 if index == axis else size for index, size in enumerate(data.shape or ()))
    zero = to_rank(context, context.constant((), name=context.reserve()), data.rank)
    if context.attributes.integer("p", 2) == 1:
        powered = context.emit("UNARY", [data], data.shape, Unary("ABS"))
        norm = context.emit("REDUCE", [powered], small, Reduce("SUM", (axis,), True))
    else:
        powered = context.emit("ELEMENTWISE", [data, data], data.shape, ElementWise("PROD"))
        total = context.emit("REDUCE", [powered], small, Reduce("SUM", (axis,), True))
        norm = context.emit("UNARY", [total], small, Unary("SQRT"))
    empty = context.emit("ELEMENTWISE", [norm, zero], small, ElementWise("EQUAL", 1), dtype="bool")
    added = context.cast(empty, data.dtype)
    safe = context.emit("ELEMENTWISE", [norm, added], small, ElementWise("SUM"))
    return context.emit("ELEMENTWISE", [data, safe], data.shape, ElementWise("DIV"))


def import_image_scaler(context: Context) -> Outputs:
    """ImageScaler: SCALE per channel, with weights that the parser makes up for shift and scale."""
    data = context.tensor(0)
    context.reserve()
    context.reserve()
    result = context.emit("SCALE", [data], data.shape)
    context.holds(2 * len(context.attributes.numbers("bias") or ()))
    return result


def import_lrn(context: Context) -> Outputs:
    """LRN: one LRN layer."""
    data = context.tensor(0)
    return context.emit("LRN", [data], data.shape, Lrn(context.attributes.integer("size", 1)))
