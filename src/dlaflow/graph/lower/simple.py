"""CastLike, ImageScaler and ParametricSoftplus: one layer each."""

from __future__ import annotations

from dlaflow.graph.layer import Activation, Cast, Scale
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.tensors import import_unknown


def import_cast_like(context: Context) -> None:
    """CastLike: CAST to the second input's type; known since 9.0."""
    if not context.parser.names_helpers:
        import_unknown(context)
        return
    data, example = context.tensor(0), context.tensor(1)
    context.finish(context.emit("CAST", [data], data.shape, Cast(example.dtype), dtype=example.dtype))


def import_image_scaler(context: Context) -> None:
    """ImageScaler: SCALE per channel, with weights that the parser makes up for shift and scale."""
    data = context.tensor(0)
    context.reserve()
    context.reserve()
    result = context.emit("SCALE", [data], data.shape, Scale("CHANNEL"))
    context.holds(2 * len(context.attributes.numbers("bias") or ()))
    context.finish(result)


def import_parametric_softplus(context: Context) -> None:
    """ParametricSoftplus: ACTIVATION SOFTPLUS."""
    data = context.tensor(0)
    alpha, beta = context.attributes.number("alpha", 1.0), context.attributes.number("beta", 1.0)
    context.finish(context.emit("ACTIVATION", [data], data.shape, Activation("SOFTPLUS", alpha, beta)))
