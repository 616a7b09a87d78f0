"""Windows of convolutions and pools: kernel, stride, pads and dilation with auto_pad resolved."""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.graph.layer import Dims
from dlaflow.graph.lower.context import Context


@dataclass(frozen=True, slots=True)
class Window:
    """A window over the spatial axes, one value per axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...] = ()


def conv_window(
    context: Context, kernel: tuple[int, ...], data: Dims | None, out: Dims | None, *, transposed: bool
) -> Window:
    """The window of a Conv or ConvTranspose with the given kernel."""
    plain = _plain(context, kernel)
    if transposed:
        return _transposed(context, plain, data, out)
    return _resolved(context, plain, data)


def pool_window(context: Context, data: Dims | None) -> Window:
    """The window of a pool."""
    return _resolved(context, _plain(context, context.attributes.integers("kernel_shape") or ()), data)


def _plain(context: Context, kernel: tuple[int, ...]) -> Window:
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
    return Window(window.kernel, window.stride, tuple(begin), tuple(end), window.dilation)


def _transposed(context: Context, window: Window, data: Dims | None, out: Dims | None) -> Window:
    """Pads of a ConvTranspose: output_shape and auto_pad turn into pads, output padding into a shorter end."""
    rank = len(window.kernel)
    extra = context.attributes.integers("output_padding") or (0,) * rank
    wanted = context.attributes.integers("output_shape")
    mode = context.attributes.text("auto_pad", "NOTSET")
    begin, end = list(window.begin), list(window.end)
    if (wanted or mode.startswith("SAME")) and data is not None and None not in data[2:]:
        for axis in range(rank):
            size = data[2 + axis] or 0
            full = (
                (size - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1 + extra[axis]
            )
            target = wanted[-rank:][axis] if wanted else size * window.stride[axis]
            total = full - target
            small, large = total // 2, total - total // 2
            begin[axis], end[axis] = (large, small) if mode != "SAME_UPPER" else (small, large)
    left = list(extra)
    if mode == "NOTSET":
        # output padding takes away from the pads at the end first; only what is left needs a layer of its own
        for axis in range(rank):
            used = min(end[axis], left[axis])
            end[axis], left[axis] = end[axis] - used, left[axis] - used
            if end[axis] < 0:
                left[axis], end[axis] = left[axis] - end[axis], 0
    rest = tuple(left) if any(left) and mode == "NOTSET" else ()
    return Window(window.kernel, window.stride, tuple(begin), tuple(end), window.dilation, rest)
