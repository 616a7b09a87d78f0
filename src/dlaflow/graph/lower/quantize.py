"""Types and scales: Cast, QuantizeLinear, DequantizeLinear."""

from __future__ import annotations

import numpy as np

from dlaflow.graph.layer import Cast, Quantize
from dlaflow.graph.lower.context import Context


def import_cast(context: Context) -> None:
    """Cast: CAST from 8.6, IDENTITY before; weights stay weights where the parser converts them itself."""
    from dlaflow.graph.shapes import elem_name

    target = elem_name(context.attributes.integer("to"))
    data = context.tensor(0)
    kind = "CAST" if context.parser.cast_layers else "IDENTITY"
    context.finish(context.emit(kind, [data], data.shape, Cast(target), dtype=target))


def import_quantize(context: Context) -> None:
    """QuantizeLinear: QUANTIZE with its scale as a constant."""
    _quantize(context, "QUANTIZE")


def import_dequantize(context: Context) -> None:
    """DequantizeLinear: DEQUANTIZE with its scale as a constant."""
    _quantize(context, "DEQUANTIZE")


def _quantize(context: Context, kind: str) -> None:
    data = context.tensor(0)
    scale = context.tensor(1)
    tensors = [data, scale]
    zero = context.value(2)
    if context.parser.names_every_layer:
        tensors.append(context.constant(scale.shape or (), name=context.reserve("tmp_weight")))
    elif not context.is_absent(2) and _takes_zero_point(context, kind):
        tensors.append(context.tensor(2))
    per_axis = scale.shape is not None and len(scale.shape) == 1 and scale.shape[0] != 1
    axis = context.attributes.integer("axis", 1) % max(len(data.shape or ()), 1) if per_axis else None
    is_zero = context.is_absent(2) or (zero is not None and not bool(np.any(zero)))
    dtype = context.output().dtype or ("float32" if kind == "DEQUANTIZE" else "int8")
    result = context.emit(kind, tensors, data.shape, Quantize(axis, is_zero), dtype=dtype)
    context.finish(result)


def _takes_zero_point(context: Context, kind: str) -> bool:
    """From 10.0 on QUANTIZE takes a zero point only when a DEQUANTIZE has made its layer already."""
    return kind == "DEQUANTIZE" or not context.parser.int64 or context.has_layer(context.operand(2))
