"""Operators of detectors: NonMaxSuppression, OneHot, GridSample, NonZero, RoiAlign and DeformConv."""

from __future__ import annotations

from dlaflow.graph.layer import ElementWise, Shuffle, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.context import Context, Outputs
from dlaflow.graph.lower.helpers import squeeze, stretched, to_scalar, unsqueeze
from dlaflow.graph.lower.tensors import import_unknown

_ROI_ALIGN, _ROI_ALIGN_V3, _DEFORM_CONV = (8, 5), (10, 1), (10, 1)
"""The releases that hand RoiAlign and DeformConv to TensorRT's own plugins."""


def import_one_hot(context: Context) -> Outputs:
    """OneHot: one ONE_HOT, its indices and depth cast to 32 bits unless they have them."""
    values = context.tensor(2)
    indices = _narrow(context, context.tensor(0))
    depth = to_scalar(context, _narrow(context, context.tensor(1)))
    return context.emit("ONE_HOT", [indices, values, depth], context.output().shape, dtype=values.dtype)


def _narrow(context: Context, data: Tensor) -> Tensor:
    is_narrow = data.dtype == "int32" or (data.dtype == "int64" and not context.parser.int64)
    return data if is_narrow else context.cast(data, "int32")


def import_non_zero(context: Context) -> Outputs:
    """NonZero: NON_ZERO, its indices cast to 64 bits where the release has them."""
    data = context.tensor(0)
    result = context.emit("NON_ZERO", [data], context.output().shape, dtype="int64")
    return context.cast(result, "int64") if context.parser.int64 else result


def import_grid_sample(context: Context) -> Outputs:
    """GridSample: one GRID_SAMPLE; batch and channels of the data, the rest of the grid."""
    data, grid = context.tensor(0), context.tensor(1)
    shape = None
    if data.shape is not None and grid.shape is not None:
        shape = (*data.shape[:2], *grid.shape[1:-1])
    return context.emit("GRID_SAMPLE", [data, grid], shape)


def import_non_max_suppression(context: Context) -> Outputs:
    """NonMaxSuppression: scores transposed, then NMS; a plugin before 8.5."""
    boxes, scores = context.tensor(0), context.tensor(1)
    limits = _limits(context) if context.parser.native_nms else []
    shape = scores.shape
    moved = (shape[0], shape[2], shape[1]) if shape is not None and len(shape) == 3 else None
    scores = context.emit("SHUFFLE", [scores], moved, Shuffle(first_transpose=(0, 2, 1), helper=True))
    kind = "NMS" if context.parser.native_nms else "PLUGIN_V2"
    result = context.emit(kind, [boxes, scores, *limits], context.output().shape, dtype="int64")
    if context.parser.narrow_indices:
        result = context.cast(result, "int64")
    return result


def _limits(context: Context) -> list[Tensor]:
    """The count, which the layer always wants, and both thresholds as far as they are given."""
    if context.is_absent(2):
        name = context.node_name if context.parser.names_every_layer else ""
        count = context.emit("CONSTANT", (), (), name=name, dtype="int32")
    else:
        count = _limit(context, 2)
        if context.parser.int64:
            most = context.constant((), "int64")
            count = context.emit("ELEMENTWISE", [count, most], (), ElementWise("MIN", 1), name="")
            count = context.cast(count, "int32")
    return [count, *(_limit(context, index) for index in (3, 4) if not context.is_absent(index))]


def _limit(context: Context, index: int) -> Tensor:
    """A limit as a scalar; weights become one without a name."""
    operand = context.operand(index)
    if operand.weights:
        return context.emit("CONSTANT", (), (), name="", dtype=operand.tensor.dtype)
    return to_scalar(context, operand.tensor)


def import_roi_align(context: Context) -> Outputs:
    """RoiAlign: a plugin from 8.5 on, its batch indices in 32 bits where the release has 64."""
    if context.parser.version < _ROI_ALIGN:
        return import_unknown(context)
    data, regions, batches = (context.tensor(index) for index in range(3))
    if context.parser.names_helpers:
        batches = context.cast(batches, "int32")
    kind = "PLUGIN_V3" if context.parser.version >= _ROI_ALIGN_V3 else "PLUGIN_V2"
    out = context.output()
    return context.emit(kind, [data, regions, batches], out.shape, dtype=data.dtype)


def import_deform_conv(context: Context) -> Outputs:
    """DeformConv: a plugin from 10.1 on; without a mask one of ones is made up."""
    if context.parser.version < _DEFORM_CONV:
        return import_unknown(context)
    data, weights, offsets = (context.tensor(index) for index in range(3))
    is_line = data.shape is not None and len(data.shape) == 3
    if is_line:
        data, weights, offsets = (unsqueeze(context, tensor, [3]) for tensor in (data, weights, offsets))
    if context.is_absent(4):
        shape = sizes.shape_of(offsets).materialise(context)
        ones = context.constant((1,), data.dtype, context.reserve() or "tmp_weight")
        mask = stretched(context, ones, shape, offsets.shape)
    else:
        mask = context.tensor(4)
        mask = unsqueeze(context, mask, [3]) if is_line else mask
    tensors = [data, offsets, mask, weights]
    if not context.is_absent(3):
        tensors.append(context.tensor(3))
    known = context.output().shape
    shape_of_result = (*known, 1) if known is not None and is_line else known
    result = context.emit("PLUGIN_V2", tensors, shape_of_result)
    return squeeze(context, result, [3]) if is_line else result
