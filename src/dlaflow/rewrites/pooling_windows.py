"""Pooling windows beyond the DLA's bound → chains of smaller ones, or a depthwise convolution for averages.

    MaxPool of window k1 + k2 - 1 = MaxPool k2 after MaxPool k1        (the first of stride 1)

Padding of a maximum is minus infinity, so it may be shared out among the links as long as each stays below its window.
An average with equal weights is a convolution: every weight 1 / (kh * kw). A window that hangs over the image, as
ceil_mode lets it, sees the image alone.
"""

from __future__ import annotations

import numpy as np
import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import convolved
from dlaflow.rewrites.draft import Draft, Edit, attribute, integer, ints
from dlaflow.rewrites.reductions import links, mean_over


class PoolingWindows(Rewrite):
    """Pooling windows that are too large become chains of smaller ones."""

    id = "pooling-window"
    answers = ("DLA151", "DLA152", "DLA154")
    operators = ("MaxPool", "AveragePool")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, shape = draft.image(node.input[0]), draft.shape(node.output[0])
        window = ints(node, "kernel_shape", ())
        largest = bounds.largest("pool.window", 8)
        if image is None or shape is None or len(window) != 2 or max(window) <= largest:
            return None
        inside = _inside(node, image, shape)
        if inside:
            edit, x, y = Edit(draft, [node]), node.input[0], node.output[0]
            given = ints(node, "strides", (1, 1))
            strides = [1 if shape[axis + 2] == 1 else given[axis] for axis in (0, 1)]  # one window takes no step
            edit.add(node.op_type, [x], shape, output=y, kernel_shape=inside, strides=strides)
            return edit
        if attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID") or integer(node, "ceil_mode", 0):
            return "automatic padding and ceil_mode are not taken apart"
        if any(step != 1 for step in ints(node, "dilations", (1, 1))) or len(node.output) > 1:
            return "a dilated window, or one that tells where it found its maximum"
        if node.op_type == "MaxPool":
            return _chained(draft, node, bounds)
        return _averaged(draft, node, bounds)


def _inside(node: onnx.NodeProto, image: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    """The part of the window that lies on the image, where a window hangs over it and the rest fits; else nothing."""
    plain = not any(ints(node, "pads", (0, 0, 0, 0))) and attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    if not plain or len([name for name in node.output if name]) > 1:
        return []
    window, strides = ints(node, "kernel_shape", ()), ints(node, "strides", (1, 1))
    sides = [min(size, side) for size, side in zip(window, image[2:], strict=True)]
    if len(strides) != 2 or min(strides) < 1:
        return []
    fits = all(shape[axis + 2] == (image[axis + 2] - sides[axis]) // strides[axis] + 1 for axis in (0, 1))
    even = all((image[axis + 2] - sides[axis]) % strides[axis] == 0 for axis in (0, 1))
    undilated = all(step == 1 for step in ints(node, "dilations", (1, 1)))
    return sides if fits and even and undilated and sides != list(window) else []


_LONGEST = 50
"""Poolings in a row that take the place of one: a longer chain helps nobody, and a broken window can have any size."""


def _chained(draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
    window, pads = ints(node, "kernel_shape", ()), ints(node, "pads", (0, 0, 0, 0))
    strides = ints(node, "strides", (1, 1))
    if any(max(pads[axis], pads[axis + 2]) >= window[axis] for axis in (0, 1)):
        return "the padding is as large as the window"
    if max(window) > _LONGEST * (bounds.largest("pool.window", 8) - 1):
        return f"a window of {max(window):,} would become more than {_LONGEST} poolings"
    chains = [links(window[axis], bounds.largest("pool.window", 8)) for axis in (0, 1)]
    count = max(len(chain) for chain in chains)
    chains = [[1] * (count - len(chain)) + chain for chain in chains]
    begins = [_shares(pads[axis], chains[axis]) for axis in (0, 1)]
    ends = [_shares(pads[axis + 2], chains[axis]) for axis in (0, 1)]
    edit, x = Edit(draft, [node]), node.input[0]
    for step in range(count):
        n, c, *size = edit.image(x)
        kernel = [chains[0][step], chains[1][step]]
        padding = [begins[0][step], begins[1][step], ends[0][step], ends[1][step]]
        stride = list(strides) if step == count - 1 else [1, 1]
        size = [(size[a] + padding[a] + padding[a + 2] - kernel[a]) // stride[a] + 1 for a in (0, 1)]
        x = edit.add("MaxPool", [x], (n, c, *size), kernel_shape=kernel, pads=padding, strides=stride)
    return edit.finish(x, node.output[0])


def _shares(padding: int, chain: list[int]) -> list[int]:
    """Padding for each link of a chain, in proportion where that works out, always below the window."""
    shares = [min((link - 1) // 2, link - 1) for link in chain]
    missing = padding - sum(shares)
    for index, link in enumerate(chain):
        change = max(-shares[index], min(missing, link - 1 - shares[index]))
        shares[index] += change
        missing -= change
    return shares


def _averaged(draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
    window, pads = ints(node, "kernel_shape", ()), ints(node, "pads", (0, 0, 0, 0))
    strides = ints(node, "strides", (1, 1))
    _, c, h, w = draft.image(node.input[0]) or (0, 0, 0, 0)
    if any(pads) and not integer(node, "count_include_pad", 0):
        return "the average leaves the padding out, so that its weights differ at the border"
    edit, x = Edit(draft, [node]), node.input[0]
    whole = not any(pads) and all(size == side for size, side in zip((h, w), window, strict=True))
    tiled = not any(pads) and tuple(strides) == window and h % window[0] == 0 and w % window[1] == 0
    if whole or tiled:
        mean = mean_over(edit, x, (window[0], window[1]), bounds)
        if mean is not None:
            return edit.finish(mean, node.output[0])
    kernel_limit, stride_limit = bounds.limit("conv.kernel"), bounds.limit("conv.stride")
    if kernel_limit is not None and not kernel_limit.allows(*window):
        return f"the window {window[0]}x{window[1]} is larger than a convolution's {kernel_limit.text}"
    if stride_limit is not None and not stride_limit.allows(*strides):
        return f"strides {strides} beyond a convolution's {stride_limit.text}"
    kernel, shape = np.full((c, 1, *window), 1 / (window[0] * window[1])), draft.shape(node.output[0]) or ()
    mean = convolved(edit, x, kernel, shape, label="mean", pads=list(pads), strides=list(strides), group=c)
    return edit.finish(mean, node.output[0])
