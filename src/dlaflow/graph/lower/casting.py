"""The parser's own cast, which it adds where a layer wants another type."""

from __future__ import annotations

from dlaflow.graph.layer import Cast, Shuffle, Tensor
from dlaflow.graph.lower.context import Context


def cast(context: Context, data: Tensor, dtype: str) -> Tensor:
    """CAST; an IDENTITY with an output type up to 8.6, where only the ONNX operator Cast has a layer of its own."""
    kind = "CAST" if context.parser.names_helpers else "IDENTITY"
    return context.helper(kind, [data], data.shape, Cast(dtype), "ONNXTRT_castHelper", dtype=dtype)


def to_scalar(context: Context, data: Tensor) -> Tensor:
    """A tensor with one element as a scalar."""
    if data.shape == ():
        return data
    attributes = Shuffle(helper=True)
    return context.helper("SHUFFLE", [data], (), attributes, "ONNXTRT_convertToScalar", dtype=data.dtype)
