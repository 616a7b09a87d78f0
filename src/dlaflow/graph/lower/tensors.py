"""Operators that join, pick, measure, create or convert tensors: Concat, Gather, Shape, Range, Cast, QuantizeLinear."""

from __future__ import annotations

from dataclasses import replace

from dlaflow.graph.layer import Cast, Concatenation, Quantize, Slice, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context, Importer, Operand, Outputs
from dlaflow.graph.lower.helpers import stretched
from dlaflow.graph.lower.shape_tensor import ShapeTensor
from dlaflow.graph.lower.sizes import OpenSize, parser_knows
from dlaflow.graph.tensor_type import elem_name


def import_constant(context: Context) -> Outputs:
    """Constant: weights; a layer comes where they are used."""
    out = context.output()
    for attribute in context.node.attribute:
        if attribute.name == "value":
            context.converts(attribute.t)
        elif attribute.name.startswith("value_"):
            context.reserve()
    return Operand(Tensor(out.name, out.shape, out.dtype, True), weights=True)


def import_concat(context: Context) -> Outputs:
    """Concat: one CONCATENATION."""
    tensors = [context.tensor(index) for index in range(len(context.node.input))]
    out = context.output().shape
    rank = len(out or tensors[0].shape or ())
    axis = context.attributes.integer("axis", 1) % max(rank, 1)
    return context.emit("CONCATENATION", tensors, out, Concatenation(axis))


def import_shape(context: Context) -> Outputs:
    """Shape: SHAPE, a CAST in releases with 64 bits, a SLICE for a part of it; older ones give the whole."""
    data = context.as_tensor(context.operand(0))
    rank = len(data.shape) if data.shape is not None else None
    name = context.further_name
    result = context.emit("SHAPE", [data], (rank,), dtype="int64" if context.parser.int64 else "int32")
    if context.parser.int64:
        result = context.emit("CAST", [result], (rank,), Cast("int64"), name=name, dtype="int64")
    if rank is not None and ("start" in context.attributes or "end" in context.attributes):
        first, last = _part(context, rank)
        if not context.parser.reads_opset_18:
            context.misreads()
        elif (first, last) != (0, rank):
            count = max(last - first, 0)
            result = context.emit("SLICE", [result], (count,), Slice((first,), (count,), (1,)), name=name)
    return result


def _part(context: Context, rank: int) -> tuple[int, int]:
    """The first and the last dimension that an opset-15 Shape asks for."""
    given = context.attributes.integer("start", 0), context.attributes.integer("end", rank)
    first, last = (min(max(value + rank if value < 0 else value, 0), rank) for value in given)
    return first, last


def import_constant_of_shape(context: Context) -> Outputs:
    """ConstantOfShape: its value as a constant, brought to the rank and stretched by a SLICE."""
    shape = context.tensor(0)
    out = context.output()
    if context.parser.checks_beforehand:
        context.reserve()  # its check makes the default value once more
    label = context.reserve()  # the default value, made before the attribute is looked at
    for attribute in context.node.attribute:
        if attribute.name == "value":
            context.converts(attribute.t)
            label = ""
    if context.parser.names_every_layer:
        label = context.names.refittable()
    value = context.emit("CONSTANT", (), (1,), name=label, dtype=out.dtype)
    context.holds(1)
    return stretched(context, value, shape, out.shape)


def gathered(context: Context) -> Outputs:
    """Gather, GatherND, GatherElements: one GATHER, 64-bit indices cast where the release has them."""
    data, indices = context.tensor(0), context.tensor(1)
    if context.parser.int64 and data.dtype != "int64" and indices.dtype != "int32":
        indices = context.cast(indices, "int32")
    return context.emit("GATHER", [data, indices], context.output().shape)


def import_unknown(context: Context) -> Outputs:
    """An operator that no importer of TensorRT's is known for: one layer with the node's inputs and outputs."""
    if context.node.op_type not in context.unknown_ops:
        context.unknown_ops.append(context.node.op_type)
    out = context.output()
    results = [context.emit("UNKNOWN", context.tensors(), out.shape, dtype=out.dtype or None)]
    for index in range(1, len(context.node.output)):
        out = context.output(index)
        results.append(context.add_output(out.shape, out.dtype))
    return list(results)


def import_scatter(context: Context) -> Outputs:
    """SCATTER with its indices in 32 bits; older parsers overlook an attribute that asks for a reduction."""
    reduces = context.attributes.text("reduction", "none") != "none"
    data, indices, updates = (context.tensor(index) for index in range(3))
    if reduces and context.parser.int64:
        kind = "PLUGIN_V3" if context.parser.names_every_layer else "PLUGIN_V2"
        return context.emit(kind, [data, indices, updates], data.shape)
    if context.parser.casts_scatter_indices:
        indices = context.emit("CAST", [indices], indices.shape, Cast("int32"), name="", dtype="int32")
    return context.emit("SCATTER", [data, indices, updates], data.shape)


def import_size(context: Context) -> Outputs:
    """Size: a constant when the parser knows the shape, else a product of gathered dimensions."""
    operand = context.operand(0)
    shape = sizes.shape_of(operand.tensor)
    if operand.tensor.shape is None:
        return context.emit("SHAPE", [context.as_tensor(operand)], (None,), name="", dtype="int64")
    total = sizes.scalar(1)
    for index in range(len(shape.values)):
        total = sizes.multiply(context, total, _dimension(context, shape, index))
    return total.materialise(context)


def _dimension(context: Context, shape: ShapeTensor, index: int) -> ShapeTensor:
    """One dimension as a scalar."""
    size = shape.values[index]
    if parser_knows(size):
        return ShapeTensor((size,), rank=0)
    where = sizes.scalar(index).materialise(context)
    source = shape.materialise(context)
    made = context.helper("GATHER", [source, where], (), None, "ONNXTRT_ShapeGather")
    return ShapeTensor((None if size is None else OpenSize(size),), rank=0, tensor=made)


def import_range(context: Context) -> Outputs:
    """Range: max(0 - floor((start - limit) / step), 0) elements from FILL."""
    dtype = context.operand(0).tensor.dtype
    start, limit, step = (_given(context, index) for index in range(3))
    zero = sizes.scalar(0)
    quotient = sizes.floor_divide(context, sizes.subtract(context, start, limit), step)
    if dtype.startswith("float") or (context.parser.int64 and dtype == "int32"):
        quotient = _whole(context, quotient)
    count = sizes.maximum(context, sizes.subtract(context, zero, quotient), zero)
    shape = _as_vector(context, count)
    out = context.output()
    if context.parser.names_helpers:
        context.names.layer("ONNXTRT_ShapeFill")
    inputs = [] if shape.known else [shape.materialise(context)]
    result = context.emit("FILL", inputs, out.shape, dtype=out.dtype or "int64")
    draft = context.drafts[-1]
    if not (start.known and step.known) and not _takes_parameters(context, dtype):
        draft.inputs.append(start.materialise(context))
        draft.inputs.append(_as_vector(context, step).materialise(context))
    folds = bool(draft.inputs) and all(tensor.constant for tensor in draft.inputs)
    if out.constant or folds or (shape.known and start.known and step.known):
        result = replace(result, constant=True)
        draft.outputs = [result]
    return result


def _takes_parameters(context: Context, dtype: str) -> bool:
    """INT32 start and step that are weights are parameters of the layer from 10.0 on."""
    return context.parser.int64 and dtype == "int32" and context.operand(0).weights and context.operand(2).weights


def _given(context: Context, index: int) -> ShapeTensor:
    """Start, limit or step: weights are numbers to older parsers, newer ones and floats take a tensor."""
    operand = context.operand(index)
    if operand.tensor.dtype.startswith("float"):
        return ShapeTensor((None,), rank=operand.tensor.rank, tensor=context.as_tensor(operand))
    if not context.parser.int64:
        return sizes.from_input(context, index)
    value = context.value(index)
    tensor = context.cast(context.as_tensor(operand), "int64")
    number = int(value.reshape(-1)[0]) if value is not None and value.size else None
    return ShapeTensor((None if number is None else OpenSize(number),), rank=0, tensor=tensor)


def _whole(context: Context, quotient: ShapeTensor) -> ShapeTensor:
    """A quotient of floats as an integer."""
    data = quotient.materialise(context)
    if context.parser.names_helpers:
        made = context.emit("CAST", [data], data.shape, Cast("int64"), name="ONNXTRT_ShapeCastToInt64", dtype="int64")
    else:
        made = context.emit("IDENTITY", [data], data.shape, Cast("int32"), name="", dtype="int32")
    return ShapeTensor(quotient.values, quotient.rank, made)


def _as_vector(context: Context, scalar: ShapeTensor) -> ShapeTensor:
    if scalar.known:
        return ShapeTensor(scalar.values)
    line = sizes.add_shuffle(context, scalar.materialise(context), sizes.vector(1))
    return ShapeTensor(scalar.values, tensor=line)


def import_random(context: Context) -> Outputs:
    """FILL of the shape in the attribute, or of the input's, which is an input of the layer when it is open."""
    out = context.output()
    if context.is_absent(0):
        shape = ShapeTensor(context.attributes.integers("shape") or ())
    else:
        shape = sizes.shape_of(context.tensor(0))
    dims = out.shape if out.shape is not None else shape.values
    context.emit("FILL", [], dims, name="", dtype=out.dtype or "float32")
    draft = context.drafts[-1]
    if not shape.known:
        draft.inputs.append(shape.materialise(context))
    if context.parser.names_helpers:
        context.names.layer("ONNXTRT_ShapeFill")
    return context.rename_layer(draft, context.names.layer(context.node_name))


def import_eye_like(context: Context) -> Outputs:
    """EyeLike: a constant of 32-bit integers, cast to the type that is asked for."""
    data = context.tensor(0)
    dims = data.shape or ()
    context.reserve()
    named = context.parser.version >= (8, 6)  # before, without the name that is made up for a nameless node
    eye = context.constant(dims, "int32", context.node_name if named else context.node.name)
    dtype = context.output().dtype or data.dtype
    narrow = "int32" if dtype == "int64" and not context.parser.int64 else dtype
    return eye if narrow == "int32" else context.cast(eye, dtype)


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
    bare = context.is_absent(2) and (_from_bare(context, data) if kind == "DEQUANTIZE" else not _names_type(context))
    dtype = context.output().dtype or ("float32" if kind == "DEQUANTIZE" else "int8")
    value = context.value(1)
    scales = () if value is None else tuple(map(float, value.ravel()))
    blocked = context.attributes.integer("block_size", 0) > 0 or (scale.rank > 1 and len(scales) != 1)
    attributes = Quantize(axis, scales, "uint8" in {dtype, data.dtype} and not bare, blocked, bare)
    if context.parser.names_every_layer:
        return context.emit(kind, tensors, data.shape, attributes, dtype=dtype)
    context.emit(kind, tensors, data.shape, attributes, name="", dtype=dtype)
    return context.rename_layer(context.drafts[-1], context.node_name)


def _names_type(context: Context) -> bool:
    return bool(context.attributes.integer("output_dtype", 0))


def _from_bare(context: Context, data: Tensor) -> bool:
    """Whether what is dequantised comes out of a QuantizeLinear of no named type."""
    makers = (draft.attributes for draft in context.drafts if any(out.name == data.name for out in draft.outputs))
    return any(isinstance(attributes, Quantize) and attributes.bare for attributes in makers)


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
