"""Conv and ConvTranspose: CONVOLUTION and DECONVOLUTION, with 1-D ones lifted to 2-D."""

from __future__ import annotations

from math import prod

from dlaflow.graph.layer import Convolution, Dims, ElementWise, Slice, Tensor
from dlaflow.graph.lower import shape_tensor as sizes
from dlaflow.graph.lower.broadcast import squeeze, unsqueeze
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.window import Window, conv_window


def import_conv(context: Context) -> None:
    """Conv: one CONVOLUTION; its bias is inside when it is an initializer."""
    _import(context, "CONVOLUTION")


def import_conv_transpose(context: Context) -> None:
    """ConvTranspose: one DECONVOLUTION; output padding becomes a smaller pad at the end."""
    _import(context, "DECONVOLUTION")


def _import(context: Context, kind: str) -> None:
    weights = context.operand(1)
    extents = _weight_extents(context, weights.tensor)
    line = len(extents) == 3
    groups = context.attributes.integer("group", 1)
    out = context.output()
    window = conv_window(context, extents[2:], context.shape(0), out.shape, transposed=kind == "DECONVOLUTION")
    attributes = _attributes(kind, extents, window, groups, weights.tensor.constant)
    if line:
        attributes = _lifted(attributes)
    data = context.tensor(0)
    if line:
        data = unsqueeze(context, data, [3])
    inputs = [data]
    held = prod(extents) if weights.weights else 0
    if not weights.weights:
        inputs.append(unsqueeze(context, weights.tensor, [3]) if line else weights.tensor)
    padded = bool(attributes.output_padding)
    if not context.is_absent(2):
        bias = context.operand(2)
        if not bias.weights:
            inputs.append(bias.tensor)
        elif not padded:
            held += attributes.out_channels
    shape: Dims | None = out.shape
    if line and shape is not None:
        shape = (*shape, 1)
    result = context.emit(kind, inputs, _before_padding(shape, attributes), attributes)
    context.holds(held)
    if padded:
        result = _output_padding(context, result, _padded(context, shape, result, line), attributes)
    if line:
        result = squeeze(context, result, [3])
    context.finish(result)


def _weight_extents(context: Context, weights: Tensor) -> tuple[int, ...]:
    """The weights' dimensions; those that nobody knows are 0, but for the kernel, which the node may tell."""
    kernel = context.attributes.integers("kernel_shape") or (0, 0)
    known = weights.shape if weights.shape is not None and len(weights.shape) > 2 else (None,) * (2 + len(kernel))
    told = (0, 0, *kernel) if len(known) == 2 + len(kernel) else (0,) * len(known)
    return tuple(other if size is None else int(size) for size, other in zip(known, told, strict=True))


def _padded(context: Context, shape: Dims | None, result: Tensor, line: bool) -> Dims | None:
    """The shape behind the output padding, which older parsers add to the wrong axis of a line."""
    if not line or not context.parser.pads_lines_wrongly or shape is None or result.shape is None:
        return shape
    context.misreads()
    length, before = shape[2], result.shape[2]
    extra = 0 if length is None or before is None else length - before
    return (*result.shape[:3], 1 + extra)


def _before_padding(shape: Dims | None, attributes: Convolution) -> Dims | None:
    """The deconvolution's own output, before rows and columns are added to it."""
    if shape is None or not attributes.output_padding:
        return shape
    pairs = zip(shape[2:], attributes.output_padding, strict=True)
    return (*shape[:2], *(None if size is None else size - extra for size, extra in pairs))


def _output_padding(context: Context, data: Tensor, shape: Dims | None, attributes: Convolution) -> Tensor:
    """A SLICE that fills up, and the bias as a SUM after it."""
    rank = len(attributes.kernel) + 2
    dtype = "int64" if context.parser.int64 else "int32"
    start, total = context.constant((rank,), dtype), context.constant((rank,), dtype)
    dims = sizes.shape_of(data).materialise(context)
    size = context.emit("ELEMENTWISE", [dims, total], (rank,), ElementWise("SUM", 1), name="")
    extents = tuple(int(extent) for extent in shape if extent is not None) if shape is not None else ()
    filled = Slice((0,) * rank, extents, (1,) * rank, "FILL") if len(extents) == rank else Slice((), (), (), "FILL")
    name = None if context.parser.names_every_layer else ""
    if context.parser.names_every_layer:
        context.names.layer("ONNXTRT_ShapeSlice")
    result = context.emit("SLICE", [data, start, size], shape, filled, name=name)
    if context.is_absent(2) or not context.operand(2).weights:
        return result
    ones = (1,) * len(attributes.kernel)
    label = context.node_name if context.parser.names_every_layer else ""
    bias = context.emit("CONSTANT", (), (1, attributes.out_channels, *ones), name=label, dtype="float32")
    context.holds(attributes.out_channels)
    return context.emit("ELEMENTWISE", [result, bias], shape, ElementWise("SUM", 1), name="")


def _attributes(kind: str, sizes: tuple[int, ...], window: Window, groups: int, constant: bool) -> Convolution:
    if kind == "DECONVOLUTION":
        in_channels, out_channels = sizes[0], sizes[1] * groups
    else:
        in_channels, out_channels = sizes[1] * groups, sizes[0]
    return Convolution(
        kernel=window.kernel,
        stride=window.stride,
        pads_begin=window.begin,
        pads_end=window.end,
        dilation=window.dilation,
        groups=groups,
        in_channels=in_channels,
        out_channels=out_channels,
        constant_weights=constant,
        output_padding=window.output_padding,
    )


def _lifted(line: Convolution) -> Convolution:
    return Convolution(
        kernel=(*line.kernel, 1),
        stride=(*line.stride, 1),
        pads_begin=(*line.pads_begin, 0),
        pads_end=(*line.pads_end, 0),
        dilation=(*line.dilation, 1),
        groups=line.groups,
        in_channels=line.in_channels,
        out_channels=line.out_channels,
        constant_weights=line.constant_weights,
        output_padding=(*line.output_padding, 0) if line.output_padding else (),
    )
