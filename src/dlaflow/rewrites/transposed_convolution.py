"""ConvTranspose with padding, output padding, groups or dilation → the plain form and a crop.

Without padding the output is (H - 1) s + d (k - 1) + 1 long; padding (b, e) and output padding o cut b off its start,
e - o off its end. Where o > e the kernel gets o - e zeros at its end first. Groups become blocks of one dense kernel,
dilation zeros inside the kernel. The crop is a Slice, or a depthwise convolution with a single one where the release
has no Slice.
"""

from __future__ import annotations

import numpy as np
import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import convolved, sliced
from dlaflow.rewrites.draft import Array, Draft, Edit, attribute, integer, ints


class TransposedConvolution(Rewrite):
    """Transposed convolutions get padding 0, one group and no dilation; a crop does the rest."""

    id = "transposed-convolution"
    answers = ("DLA133", "DLA134", "DLA135", "DLA136")
    operators = ("ConvTranspose",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, shape, kernel = draft.image(node.input[0]), draft.image(node.output[0]), draft.value(node, 1)
        if image is None or shape is None or kernel is None or kernel.ndim != 4:
            return None
        pads, extra = ints(node, "pads", (0, 0, 0, 0)), ints(node, "output_padding", (0, 0))
        dilations, groups = ints(node, "dilations", (1, 1)), integer(node, "group", 1)
        if not any(pads) and not any(extra) and dilations == (1, 1) and groups == 1:
            return None
        if attribute(node, "auto_pad", "NOTSET") != "NOTSET" or ints(node, "output_shape", ()):
            return "automatic padding is not taken apart"
        strides = ints(node, "strides", (1, 1))
        dense = _dilated(_ungrouped(np.asarray(kernel), groups), (dilations[0], dilations[1]))
        tail = [max(0, extra[axis] - pads[axis + 2]) for axis in (0, 1)]
        dense = np.pad(dense, ((0, 0), (0, 0), (0, tail[0]), (0, tail[1])))
        full = [(image[axis + 2] - 1) * strides[axis] + dense.shape[axis + 2] for axis in (0, 1)]
        edit, x = Edit(draft, [node]), node.input[0]
        inputs = [x, edit.weight("weight", dense, x), *(name for name in node.input[2:] if name)]
        y = edit.add(
            "ConvTranspose",
            inputs,
            (image[0], shape[1], *full),
            kernel_shape=list(dense.shape[2:]),
            strides=list(strides),
        )
        return edit.finish(crop(edit, y, (pads[0], pads[1]), (shape[2], shape[3]), bounds), node.output[0])


def _ungrouped(kernel: Array, groups: int) -> Array:
    """(in, out / groups, kh, kw) as (in, out, kh, kw) with zeros between the groups."""
    if groups == 1:
        return kernel
    inside, outside = kernel.shape[0] // groups, kernel.shape[1]
    dense = np.zeros((kernel.shape[0], outside * groups, *kernel.shape[2:]), kernel.dtype)
    for group in range(groups):
        rows = slice(group * inside, (group + 1) * inside)
        dense[rows, group * outside : (group + 1) * outside] = kernel[rows]
    return dense


def _dilated(kernel: Array, dilation: tuple[int, int]) -> Array:
    if dilation == (1, 1):
        return kernel
    sizes = [(kernel.shape[axis + 2] - 1) * dilation[axis] + 1 for axis in (0, 1)]
    spread = np.zeros((*kernel.shape[:2], *sizes), kernel.dtype)
    spread[:, :, :: dilation[0], :: dilation[1]] = kernel
    return spread


def crop(edit: Edit, x: str, begin: tuple[int, int], size: tuple[int, int], bounds: Bounds) -> str:
    """Append what cuts H and W down to `size` from `begin`."""
    n, c, h, w = edit.image(x)
    if (h, w) == size:
        return x
    shape = (n, c, *size)
    if bounds.limit("slice.available") is None:
        kernel = np.zeros((c, 1, h - size[0] + 1, w - size[1] + 1))
        kernel[:, :, begin[0], begin[1]] = 1
        return convolved(edit, x, kernel, shape, label="crop", group=c)
    return sliced(edit, x, {axis + 2: (begin[axis], begin[axis] + size[axis]) for axis in (0, 1)}, shape)
