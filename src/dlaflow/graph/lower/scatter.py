"""ScatterND, ScatterElements, Scatter: one SCATTER; a plugin where results are added up."""

from __future__ import annotations

from dlaflow.graph.layer import Cast
from dlaflow.graph.lower.context import Context


def import_scatter(context: Context) -> None:
    """SCATTER with its indices in 32 bits; older parsers overlook an attribute that asks for a reduction."""
    reduces = context.attributes.text("reduction", "none") != "none"
    data, indices, updates = (context.tensor(index) for index in range(3))
    if reduces and context.parser.int64:
        kind = "PLUGIN_V3" if context.parser.names_every_layer else "PLUGIN_V2"
        context.finish(context.emit(kind, [data, indices, updates], data.shape))
        return
    if context.parser.casts_scatter_indices:
        indices = context.emit("CAST", [indices], indices.shape, Cast("int32"), name="", dtype="int32")
    context.finish(context.emit("SCATTER", [data, indices, updates], data.shape))
