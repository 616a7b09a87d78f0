"""RandomNormal, RandomUniform and their Like forms: FILL. EyeLike: a constant."""

from __future__ import annotations

from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.shape_tensor import ShapeTensor


def import_random(context: Context) -> None:
    """FILL of the shape in the attribute, or of the input's, which is an input of the layer when it is open."""
    out = context.output()
    if context.is_absent(0):
        shape = ShapeTensor(context.attributes.integers("shape") or ())
    else:
        shape = sizes.shape_of(context.tensor(0))
    dims = out.shape if out.shape is not None else shape.values
    made = context.emit("FILL", [], dims, name="", dtype=out.dtype or "float32")
    draft = context.drafts[-1]
    if not shape.known:
        draft.inputs.append(shape.materialise(context))
    if context.parser.names_helpers:
        context.names.layer("ONNXTRT_ShapeFill")
    made = context.rename_layer(draft, context.names.layer(context.node_name))
    context.finish(made)


def import_eye_like(context: Context) -> None:
    """EyeLike: a constant of 32-bit integers, cast to the type that is asked for."""
    data = context.tensor(0)
    dims = data.shape or ()
    context.reserve()
    named = context.parser.version >= (8, 6)  # before, without the name that is made up for a nameless node
    eye = context.constant(dims, "int32", context.node_name if named else context.node.name)
    dtype = context.output().dtype or data.dtype
    narrow = "int32" if dtype == "int64" and not context.parser.int64 else dtype
    context.finish(eye if narrow == "int32" else context.cast(eye, dtype))
