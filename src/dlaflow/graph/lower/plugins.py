"""Operators that the parser hands to TensorRT's own plugins: RoiAlign and DeformConv."""

from __future__ import annotations

from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.broadcast import squeeze, unsqueeze
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.filling import stretched
from dlaflow.graph.lower.tensors import import_unknown

_ROI_ALIGN, _ROI_ALIGN_V3, _DEFORM_CONV = (8, 5), (10, 1), (10, 1)


def import_roi_align(context: Context) -> None:
    """RoiAlign: a plugin from 8.5 on, its batch indices in 32 bits where the release has 64."""
    if context.parser.version < _ROI_ALIGN:
        import_unknown(context)
        return
    data, regions, batches = (context.tensor(index) for index in range(3))
    if context.parser.names_helpers:
        batches = context.cast(batches, "int32")
    kind = "PLUGIN_V3" if context.parser.version >= _ROI_ALIGN_V3 else "PLUGIN_V2"
    out = context.output()
    context.finish(context.emit(kind, [data, regions, batches], out.shape, dtype=data.dtype))


def import_deform_conv(context: Context) -> None:
    """DeformConv: a plugin from 10.1 on; without a mask one of ones is made up."""
    if context.parser.version < _DEFORM_CONV:
        import_unknown(context)
        return
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
    context.finish(squeeze(context, result, [3]) if is_line else result)
