"""Convolutions and pools: CONVOLUTION, DECONVOLUTION and POOLING, 1-D ones lifted to 2-D; REDUCE for global pools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from dlaflow.graph.layer import Convolution, Dims, ElementWise, Pooling, Reduce, Slice, Tensor, Unary
from dlaflow.graph.lower.context import Context, Importer, Outputs
from dlaflow.graph.lower.helpers import enlarged, squeeze, unsqueeze
from dlaflow.graph.lower.sizes import all_known


@dataclass(frozen=True, slots=True)
class Window:
    """A window over the spatial axes, one value per axis, with auto_pad resolved."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...] = ()

    def lifted(self) -> Window:
        """The window of a line on an image of one column."""
        extra = (*self.output_padding, 0) if self.output_padding else ()
        return Window(
            (*self.kernel, 1), (*self.stride, 1), (*self.begin, 0), (*self.end, 0), (*self.dilation, 1), extra
        )


def _window(context: Context, kernel: tuple[int, ...]) -> Window:
    """The window as the attributes have it."""
    rank = len(kernel)
    attributes = context.attributes
    pads = attributes.integers("pads") or (0,) * (2 * rank)
    return Window(
        kernel=kernel,
        stride=attributes.integers("strides") or (1,) * rank,
        begin=pads[:rank],
        end=pads[rank : 2 * rank],
        dilation=attributes.integers("dilations") or (1,) * rank,
    )


def _resolved(context: Context, window: Window, data: Dims | None) -> Window:
    """auto_pad turned into pads."""
    mode = context.attributes.text("auto_pad", "NOTSET")
    if mode not in ("SAME_UPPER", "SAME_LOWER") or data is None:
        return window
    begin, end = [], []
    for axis, kernel in enumerate(window.kernel):
        size = data[2 + axis] if 2 + axis < len(data) else None
        total = 0
        if size is not None:
            out = -(-size // window.stride[axis])
            total = max((out - 1) * window.stride[axis] + (kernel - 1) * window.dilation[axis] + 1 - size, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if mode == "SAME_UPPER" else large)
        end.append(large if mode == "SAME_UPPER" else small)
    return replace(window, begin=tuple(begin), end=tuple(end))


def _transposed(context: Context, window: Window, data: Dims | None) -> Window:
    """Pads of a ConvTranspose: output_shape and auto_pad turn into pads, output padding into a shorter end."""
    rank = len(window.kernel)
    extra = context.attributes.integers("output_padding") or (0,) * rank
    wanted = context.attributes.integers("output_shape")
    mode = context.attributes.text("auto_pad", "NOTSET")
    begin, end, left = list(window.begin), list(window.end), list(extra)
    if (wanted or mode.startswith("SAME")) and data is not None and None not in data[2:]:
        for axis in range(rank):
            size = data[2 + axis] or 0
            reach = (window.kernel[axis] - 1) * window.dilation[axis] + 1 + extra[axis]
            target = wanted[-rank:][axis] if wanted else size * window.stride[axis]
            total = (size - 1) * window.stride[axis] + reach - target
            small, large = total // 2, total - total // 2
            begin[axis], end[axis] = (large, small) if mode != "SAME_UPPER" else (small, large)
    if mode == "NOTSET":
        # output padding takes away from the pads at the end first; only what is left needs a layer of its own
        for axis in range(rank):
            used = min(end[axis], left[axis])
            end[axis], left[axis] = end[axis] - used, left[axis] - used
            if end[axis] < 0:
                left[axis], end[axis] = left[axis] - end[axis], 0
    rest = tuple(left) if any(left) and mode == "NOTSET" else ()
    return replace(window, begin=tuple(begin), end=tuple(end), output_padding=rest)


def convolution(kind: str) -> Importer:
    """Conv and ConvTranspose: one CONVOLUTION or DECONVOLUTION; its bias is inside when it is an initializer.

    Output padding becomes a smaller pad at the end.
    """
    return lambda context: _convolution(context, kind)


def _convolution(context: Context, kind: str) -> Outputs:
    weights = context.operand(1)
    extents = _weight_extents(context, weights.tensor)
    line = len(extents) == 3
    data_shape, shape = context.shape(0), context.output().shape
    resolve = _transposed if kind == "DECONVOLUTION" else _resolved
    window = resolve(context, _window(context, extents[2:]), data_shape)
    if line:
        window = window.lifted()
    attributes = _attributes(context, kind, extents, window)
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
    if line and shape is not None:
        shape = (*shape, 1)
    result = context.emit(kind, inputs, _before_padding(shape, attributes), attributes)
    context.holds(held)
    if padded:
        result = _output_padding(context, result, _padded(context, shape, result, line), attributes)
    return squeeze(context, result, [3]) if line else result


def _attributes(context: Context, kind: str, extents: tuple[int, ...], window: Window) -> Convolution:
    groups = context.attributes.integer("group", 1)
    outputs, inputs = extents[0], extents[1] * groups
    if kind == "DECONVOLUTION":
        outputs, inputs = inputs, outputs
    return Convolution(
        kernel=window.kernel,
        stride=window.stride,
        pads_begin=window.begin,
        pads_end=window.end,
        dilation=window.dilation,
        groups=groups,
        in_channels=inputs,
        out_channels=outputs,
        output_padding=window.output_padding,
    )


def _weight_extents(context: Context, weights: Tensor) -> tuple[int, ...]:
    """The weights' dimensions; those that nobody knows are 0, but for the kernel, which the node may state."""
    kernel = context.attributes.integers("kernel_shape") or (0, 0)
    known = weights.shape if weights.shape is not None and len(weights.shape) > 2 else (None,) * (2 + len(kernel))
    stated = (0, 0, *kernel) if len(known) == 2 + len(kernel) else (0,) * len(known)
    return tuple(other if size is None else int(size) for size, other in zip(known, stated, strict=True))


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
    bounds = enlarged(context, data, rank)
    extents = all_known(shape)
    filled = Slice((0,) * rank, extents, (1,) * rank, "FILL") if extents is not None else Slice(mode="FILL")
    if context.parser.names_every_layer:
        context.names.layer("ONNXTRT_ShapeSlice")
    result = context.emit("SLICE", [data, *bounds], shape, filled, name=context.further_name)
    if context.is_absent(2) or not context.operand(2).weights:
        return result
    ones = (1,) * len(attributes.kernel)
    label = context.node_name if context.parser.names_every_layer else ""
    bias = context.emit("CONSTANT", (), (1, attributes.out_channels, *ones), name=label, dtype="float32")
    context.holds(attributes.out_channels)
    return context.emit("ELEMENTWISE", [result, bias], shape, ElementWise("SUM", 1), name="")


def pool(mode: str) -> Importer:
    """MaxPool and AveragePool: one POOLING."""
    return lambda context: _pool(context, context.tensor(0), mode)


def import_lp_pool(context: Context) -> Outputs:
    """LpPool of order 1 or 2: |x| or x*x, average, times the window's size, root."""
    data = context.tensor(0)
    count = context.constant((1,) * data.rank)
    square = context.attributes.integer("p", 2) == 2
    if square:
        powered = context.emit("ELEMENTWISE", [data, data], data.shape, ElementWise("PROD"))
    else:
        powered = context.emit("UNARY", [data], data.shape, Unary("ABS"))
    pooled = _pool(context, powered, "AVERAGE")
    result = context.emit("ELEMENTWISE", [pooled, count], pooled.shape, ElementWise("PROD", 1))
    if square:
        result = context.emit("UNARY", [result], result.shape, Unary("SQRT"))
    return result


class Stretch(NamedTuple):
    """A pool along one axis, as TensorRT counts: the positions of its window, padding on both sides, and idle ones.

    `end` holds what the last position reaches over besides; `idle` says that rounding up alone makes it, in padding.
    """

    positions: int
    begin: int
    end: int
    idle: bool


def stretches(context: Context) -> list[Stretch]:
    """The axes of a pool, none where a size is not known. ceil_mode is kEXPLICIT_ROUND_UP: ceil((M - K) / S) + 1.

    PyTorch, ONNX Runtime and ONNX from opset 22 on drop a last window that begins behind the data; TensorRT does not.
    """
    kernel, data = context.attributes.integers("kernel_shape") or (), context.shape(0)
    window = _resolved(context, _window(context, kernel), data)
    sides = (window.begin, window.end, window.stride, window.kernel)
    if data is None or None in data or {len(side) for side in sides} != {len(data) - 2} or min(window.stride) < 1:
        return []
    automatic = context.attributes.text("auto_pad").startswith("SAME")
    up = bool(context.attributes.integer("ceil_mode", 0)) and not automatic
    found = []
    for length, begin, end, stride, width in zip(data[2:], *sides, strict=True):
        size = int(length or 0)
        room = size + begin + end - width
        steps = -(-room // stride) if up else room // stride
        reach = steps * stride + width - size - begin
        found.append(Stretch(steps + 1, begin, max(end, reach), up and steps * stride >= size + begin))
    return found


def _pool(context: Context, data: Tensor, mode: str) -> Tensor:
    window = _window(context, context.attributes.integers("kernel_shape") or ())
    window = _resolved(context, window, data.shape)
    line = len(window.kernel) == 1
    if line:
        data, window = unsqueeze(context, data, [3]), window.lifted()
    attributes = Pooling(
        mode=mode,
        window=window.kernel,
        stride=window.stride,
        pads_begin=window.begin,
        pads_end=window.end,
        dilation=window.dilation,
        count_include_pad=bool(context.attributes.integer("count_include_pad", 0)),
    )
    shape: Dims | None = context.output().shape
    axes = stretches(context)
    if shape is not None and any(axis.idle for axis in axes):
        context.misreads()
        shape = (*shape[:2], *(axis.positions for axis in axes))
    if line and shape is not None:
        shape = (*shape, 1)
    result = context.emit("POOLING", [data], shape, attributes)
    return squeeze(context, result, [3]) if line else result


def global_pool(operation: str) -> Importer:
    """GlobalAveragePool and GlobalMaxPool: one REDUCE over the spatial axes."""
    return lambda context: _global(context, context.tensor(0), operation)


def import_global_lp_pool(context: Context) -> Outputs:
    """GlobalLpPool: x to the power p, REDUCE SUM, root."""
    data = context.tensor(0)
    power, root = context.constant((1,) * data.rank), context.constant((1,) * data.rank)
    raised = context.emit("ELEMENTWISE", [data, power], data.shape, ElementWise("POW", 1), name="")
    total = _global(context, raised, "SUM")
    return context.emit("ELEMENTWISE", [total, root], total.shape, ElementWise("POW", 1), name="")


def _global(context: Context, data: Tensor, operation: str) -> Tensor:
    axes = tuple(range(2, len(data.shape or (0, 0, 0, 0))))
    return context.emit("REDUCE", [data], context.output().shape, Reduce(operation, axes, True))
