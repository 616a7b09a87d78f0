"""Types and scales: Cast, QuantizeLinear, DequantizeLinear."""

from __future__ import annotations

from dlaflow.graph.layer import Cast, Quantize, Tensor
from dlaflow.graph.lower.context import Context, Importer, Outputs
from dlaflow.graph.lower.tensors import import_unknown
from dlaflow.graph.tensor_type import elem_name


def import_cast(context: Context) -> Outputs:
    """Cast: CAST from 8.6, IDENTITY before; weights stay weights where the parser converts them itself."""
    target = elem_name(context.attributes.integer("to"))
    data = context.tensor(0)
    kind = "CAST" if context.parser.cast_layers else "IDENTITY"
    return context.emit(kind, [data], data.shape, Cast(target), dtype=target)


def import_cast_like(context: Context) -> Outputs:
    """CastLike: CAST to the second input's type; known since 9.0."""
    if not context.parser.names_helpers:
        return import_unknown(context)
    data, example = context.tensor(0), context.tensor(1)
    return context.emit("CAST", [data], data.shape, Cast(example.dtype), dtype=example.dtype)


def quantization(kind: str) -> Importer:
    """QuantizeLinear and DequantizeLinear: QUANTIZE or DEQUANTIZE with its scale as a constant."""
    return lambda context: _quantize(context, kind)


def _quantize(context: Context, kind: str) -> Outputs:
    data = context.tensor(0)
    scale = context.tensor(1)
    tensors = [data, scale, *_zero_point(context, scale)]
    per_axis = scale.shape is not None and len(scale.shape) == 1 and scale.shape[0] != 1
    axis = context.attributes.integer("axis", 1) % max(data.rank, 1) if per_axis else None
    dtype = context.output().dtype or ("float32" if kind == "DEQUANTIZE" else "int8")
    if context.parser.names_every_layer:
        return context.emit(kind, tensors, data.shape, Quantize(axis), dtype=dtype)
    context.emit(kind, tensors, data.shape, Quantize(axis), name="", dtype=dtype)
    return context.rename_layer(context.drafts[-1], context.node_name)


def _zero_point(context: Context, scale: Tensor) -> list[Tensor]:
    """The zero point as a constant of the parser's own: it wants one in floating point."""
    if context.is_absent(2):
        return []
    if context.parser.names_every_layer:
        return [context.constant(scale.shape or (), name=context.reserve())]
    operand = context.operand(2)
    if context.parser.int64:
        if operand.weights or operand.tensor.constant:
            return [context.constant(operand.tensor.shape or (), name=context.reserve())]
        return [operand.tensor]
    if operand.weights and not context.has_layer(operand):
        context.reserve()
    return [context.as_tensor(operand)]
