"""Activations: one ACTIVATION layer each, or the few layers that the parser composes them from."""

from __future__ import annotations

from collections.abc import Callable

from dlaflow.graph.layer import Activation, ElementWise, ParametricRelu, Tensor
from dlaflow.graph.lower.broadcast import to_rank
from dlaflow.graph.lower.context import Context

Importer = Callable[[Context], None]


def plain(kind: str, alpha: tuple[str, float] | None = None, beta: tuple[str, float] | None = None) -> Importer:
    """An importer for one ACTIVATION whose alpha and beta come from attributes with defaults."""

    def run(context: Context) -> None:
        data = context.tensor(0)
        activation = Activation(
            kind,
            None if alpha is None else context.attributes.number(*alpha),
            None if beta is None else context.attributes.number(*beta),
        )
        context.finish(context.emit("ACTIVATION", [data], data.shape, activation))

    return run


def import_clip(context: Context) -> None:
    """Clip: ACTIVATION CLIP; with bounds that are not known, or on integers, MAX and MIN."""
    data = context.tensor(0)
    low, high = _bound(context, 1, "min"), _bound(context, 2, "max")
    # a bound that is named and left empty counts as a tensor to the parser
    known = all(not context.is_absent(index) and context.operand(index).weights for index in _bounds(context))
    if data.dtype in ("int32", "int64") or not known:
        context.finish(_clip_by_elements(context, data))
        return
    context.finish(context.emit("ACTIVATION", [data], data.shape, Activation("CLIP", low, high)))


def _bounds(context: Context) -> range:
    return range(1, len(context.node.input))


def _clip_by_elements(context: Context, data: Tensor) -> Tensor:
    """MAX with the lower and MIN with the upper bound; a bound that is not given is a constant at the type's end."""
    open_shape = (1,) * len(data.shape or ()) if context.parser.names_every_layer else ()
    bounds = [
        context.constant(open_shape, data.dtype) if context.is_absent(index) else context.tensor(index)
        for index in (1, 2)
    ]
    rank = len(data.shape or ())
    bounds = [to_rank(context, bound, rank) for bound in bounds]
    name = None if context.parser.names_every_layer else ""
    for bound, operation in zip(bounds, ("MAX", "MIN"), strict=True):
        attributes = ElementWise(operation, 1 if bound.constant else None, bound.constant)
        data = context.emit("ELEMENTWISE", [data, bound], data.shape, attributes, name=name)
    return data


def _bound(context: Context, index: int, name: str) -> float | None:
    if name in context.attributes:
        return context.attributes.number(name, 0.0)
    value = context.value(index)
    return float(value.reshape(-1)[0]) if value is not None and value.size else None


def import_prelu(context: Context) -> None:
    """PRelu: PARAMETRIC_RELU with its slope as a constant."""
    data, slope = context.tensor(0), context.tensor(1)
    slope = to_rank(context, slope, len(data.shape or ()))
    context.finish(context.emit("PARAMETRIC_RELU", [data, slope], data.shape, ParametricRelu(slope.constant)))


def import_hard_swish(context: Context) -> None:
    """HardSwish: HARD_SIGMOID times x."""
    data = context.tensor(0)
    gate = context.emit("ACTIVATION", [data], data.shape, Activation("HARD_SIGMOID", 1 / 6, 0.5))
    context.finish(context.emit("ELEMENTWISE", [data, gate], data.shape, ElementWise("PROD")))


def import_mish(context: Context) -> None:
    """Mish: SOFTPLUS, TANH, times x."""
    data = context.tensor(0)
    soft = context.emit("ACTIVATION", [data], data.shape, Activation("SOFTPLUS", 1.0, 1.0))
    gate = context.emit("ACTIVATION", [soft], data.shape, Activation("TANH"))
    context.finish(context.emit("ELEMENTWISE", [data, gate], data.shape, ElementWise("PROD")))


def import_swish(context: Context) -> None:
    """Swish: x times alpha (even when that is 1), SIGMOID, times x."""
    data = context.tensor(0)
    alpha = to_rank(context, context.cast(context.constant((1,)), data.dtype), len(data.shape or ()))
    scaled = context.emit("ELEMENTWISE", [alpha, data], data.shape, ElementWise("PROD", 0, True))
    gate = context.emit("ACTIVATION", [scaled], data.shape, Activation("SIGMOID"))
    context.finish(context.emit("ELEMENTWISE", [data, gate], data.shape, ElementWise("PROD")))


def import_gelu(context: Context) -> None:
    """Gelu: one ACTIVATION, exact or with tanh."""
    tanh = context.attributes.text("approximate", "none") == "tanh"
    data = context.tensor(0)
    kind = "GELU_TANH" if tanh else "GELU_ERF"
    context.finish(context.emit("ACTIVATION", [data], data.shape, Activation(kind)))
