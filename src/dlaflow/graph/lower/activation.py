"""Activations and Softmax: one ACTIVATION or SOFTMAX layer each, or the few layers that they are composed of."""

from __future__ import annotations

from dlaflow.graph.layer import Activation, ElementWise, ParametricRelu, SoftMax, Tensor, Unary
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context, Importer, Outputs
from dlaflow.graph.lower.helpers import to_rank
from dlaflow.graph.lower.shuffle import flattened


def plain(kind: str, alpha: tuple[str, float] | None = None, beta: tuple[str, float] | None = None) -> Importer:
    """An importer for one ACTIVATION whose alpha and beta come from attributes with defaults."""

    def run(context: Context) -> Outputs:
        numbers = (None if pair is None else context.attributes.number(*pair) for pair in (alpha, beta))
        return _activation(context, context.tensor(0), kind, *numbers)

    return run


def _activation(
    context: Context, data: Tensor, kind: str, alpha: float | None = None, beta: float | None = None
) -> Tensor:
    return context.emit("ACTIVATION", [data], data.shape, Activation(kind, alpha, beta))


def import_clip(context: Context) -> Outputs:
    """Clip: ACTIVATION CLIP; with bounds that are not known, or on integers, MAX and MIN."""
    data = context.tensor(0)
    low, high = _bound(context, 1, "min"), _bound(context, 2, "max")
    # a bound that is named and left empty counts as a tensor to the parser
    bounds = range(1, len(context.node.input))
    known = all(not context.is_absent(index) and context.operand(index).weights for index in bounds)
    if data.dtype in ("int32", "int64") or not known:
        return _clip_by_elements(context, data)
    return _activation(context, data, "CLIP", low, high)


def _clip_by_elements(context: Context, data: Tensor) -> Tensor:
    """MAX with the lower and MIN with the upper bound; a bound that is not given is a constant at the type's end."""
    rank = data.rank
    open_shape = (1,) * rank if context.parser.names_every_layer else ()
    bounds = [
        context.constant(open_shape, data.dtype) if context.is_absent(index) else context.tensor(index)
        for index in (1, 2)
    ]
    bounds = [to_rank(context, bound, rank) for bound in bounds]
    for bound, operation in zip(bounds, ("MAX", "MIN"), strict=True):
        attributes = ElementWise(operation, 1 if bound.constant else None)
        data = context.emit("ELEMENTWISE", [data, bound], data.shape, attributes, name=context.further_name)
    return data


def _bound(context: Context, index: int, name: str) -> float | None:
    if name in context.attributes:
        return context.attributes.number(name, 0.0)
    value = context.value(index)
    return float(value.reshape(-1)[0]) if value is not None and value.size else None


def import_prelu(context: Context) -> Outputs:
    """PRelu: PARAMETRIC_RELU with its slope as a constant."""
    data, slope = context.tensor(0), context.tensor(1)
    slope = to_rank(context, slope, data.rank)
    return context.emit("PARAMETRIC_RELU", [data, slope], data.shape, ParametricRelu(slope.constant))


def import_hard_swish(context: Context) -> Outputs:
    """HardSwish: HARD_SIGMOID times x."""
    data = context.tensor(0)
    return _gated(context, data, _activation(context, data, "HARD_SIGMOID", 1 / 6, 0.5))


def import_mish(context: Context) -> Outputs:
    """Mish: SOFTPLUS, TANH, times x."""
    data = context.tensor(0)
    return _gated(context, data, _activation(context, _activation(context, data, "SOFTPLUS", 1.0, 1.0), "TANH"))


def import_swish(context: Context) -> Outputs:
    """Swish: x times alpha (even when that is 1), SIGMOID, times x."""
    data = context.tensor(0)
    alpha = to_rank(context, context.cast(context.constant((1,)), data.dtype), data.rank)
    scaled = context.emit("ELEMENTWISE", [alpha, data], data.shape, ElementWise("PROD", 0))
    return _gated(context, data, _activation(context, scaled, "SIGMOID"))


def _gated(context: Context, data: Tensor, gate: Tensor) -> Outputs:
    return context.emit("ELEMENTWISE", [data, gate], data.shape, ElementWise("PROD"))


def import_gelu(context: Context) -> Outputs:
    """Gelu: one ACTIVATION, exact or with tanh."""
    tanh = context.attributes.text("approximate", "none") == "tanh"
    return _activation(context, context.tensor(0), "GELU_TANH" if tanh else "GELU_ERF")


def import_softmax(context: Context) -> Outputs:
    """Softmax: SOFTMAX and a SHUFFLE back to the shape; before opset 13 the input is flattened to two dimensions."""
    data = context.tensor(0)
    return _shaped_back(context, _softmax(context, data), data)


def import_log_softmax(context: Context) -> Outputs:
    """LogSoftmax: SOFTMAX, LOG and a SHUFFLE back to the shape."""
    data = context.tensor(0)
    result = _softmax(context, data)
    logarithm = context.emit("UNARY", [result], result.shape, Unary("LOG"), name=context.further_name)
    return _shaped_back(context, logarithm, data)


def _shaped_back(context: Context, result: Tensor, data: Tensor) -> Tensor:
    """A SHUFFLE to the shape of `data`; none where nobody knows its rank, nor the reshapes before."""
    return result if data.shape is None else sizes.add_shuffle(context, result, sizes.shape_of(data))


def _softmax(context: Context, data: Tensor) -> Tensor:
    rank = data.rank
    if data.shape is None:
        return context.emit("SOFTMAX", [data], None, SoftMax(max(context.attributes.integer("axis", -1), 0)))
    if context.model.opset >= 13:
        axis = context.attributes.integer("axis", -1) % max(rank, 1)
        return context.emit("SOFTMAX", [data], data.shape, SoftMax(axis))
    axis = context.attributes.integer("axis", 1)
    axis = axis + rank if axis < 0 else axis
    data = flattened(context, data, axis, "ONNXTRT_flattenTensor" if context.parser.names_helpers else "")
    return context.emit("SOFTMAX", [data], data.shape, SoftMax(1))
